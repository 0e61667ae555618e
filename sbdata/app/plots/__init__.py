"""The plots of the panel "Object sizes", as plain data and layouts for Plotly."""
