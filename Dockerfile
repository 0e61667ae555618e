# sbdata on a CPU: docker build -t sbdata . && docker run --rm -v "$PWD:/data" -w /data sbdata --help
FROM python:3.11-slim
COPY . /src
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision \
 && pip install --no-cache-dir "/src[train,offline,pandas]" \
 && rm -rf /src
RUN useradd --create-home sbdata
USER sbdata
WORKDIR /home/sbdata
ENTRYPOINT ["sbdata"]
CMD ["--help"]
