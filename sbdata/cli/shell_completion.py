"""Shell completion of names: sets, recipes, methods, strategies, presets, sources, taxonomies.

Click calls these functions when the shell asks for completions, so they import only what they need
to list the names, and never PyTorch. If listing fails, they offer no names, because a message would
appear in the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem

Completer = Callable[[Context, Parameter, str], list[CompletionItem]]


def _completer(list_names: Callable[[], Iterable[str]], files: str = "") -> Completer:
    """Return a completer of names, and also of paths if ``files`` is ``file`` or ``dir``."""

    def complete(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            names = [name for name in list_names() if name.startswith(incomplete)]
        except Exception:  # a message would end up in the prompt
            names = []
        # The shell completes paths itself. Bash drops the items before this one.
        paths = [CompletionItem(incomplete, type=files)] if files else []
        return [*paths, *map(CompletionItem, names)]

    return complete


def _sets() -> list[str]:
    from sbdata.manifest import IMAGES_FILE

    return sorted(path.parent.as_posix() for path in Path("data").glob(f"*/{IMAGES_FILE}"))


def _recipes() -> list[str]:
    from sbdata.recipe import bundled_recipes

    return bundled_recipes()


def _methods() -> list[str]:
    from importlib.metadata import entry_points

    return sorted({"full", *(entry.name for entry in entry_points(group="sbdata.baselines"))})


def _strategies() -> Iterable[str]:
    from sbdata.train.registry import STRATEGIES

    return STRATEGIES


def _train_presets() -> list[str]:
    from sbdata.settings import bundled

    return bundled("presets")


def _published() -> list[str]:
    from sbdata.sources.published import load_registry

    return [source.name for source in load_registry(None).sources]


def _map_sources() -> Iterable[str]:
    from sbdata.importers.sources import SOURCES

    return SOURCES


def _taxonomies() -> Iterable[str]:
    from sbdata.taxonomy import TAXONOMIES

    return sorted(TAXONOMIES)


def _palettes() -> Iterable[str]:
    from sbdata.score.palettes import PALETTES

    return PALETTES


complete_set = _completer(_sets, "dir")
complete_recipe = _completer(_recipes, "file")
complete_recipe_or_set = _completer(lambda: [*_recipes(), *_sets()], "file")
complete_method = _completer(_methods)
complete_strategy = _completer(_strategies)
complete_method_preset = _completer(lambda: ["paper", "photos", "smoke"])
complete_train_preset = _completer(_train_presets, "file")
complete_published = _completer(_published)
complete_map_source = _completer(_map_sources)
complete_taxonomy = _completer(_taxonomies, "file")
complete_palette = _completer(_palettes, "file")
