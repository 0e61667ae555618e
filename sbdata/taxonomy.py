"""Classes of a set, and the mapping of other datasets' category names to them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sbdata.errors import InputError
from sbdata.plurals import count
from sbdata.quoting import has_controls, quoted
from sbdata.text_files import read_lines


@dataclass(frozen=True)
class Taxonomy:
    """The foreground classes of a set, numbered from 1; 0 is background and 255 void.

    Raises:
        InputError: If a name is empty or given twice, or there are more than 254.

    >>> VOC20.id_of("aeroplane"), VOC20.name_of(20)
    (1, 'tvmonitor')
    """

    name: str
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.classes or "" in self.classes or len(set(self.classes)) != len(self.classes):
            msg = f"taxonomy {self.name}: it needs class names, which are distinct and not empty"
            raise InputError(msg)
        odd = next((name for name in (self.name, *self.classes) if has_controls(name)), None)
        if odd is not None:
            msg = f"taxonomy: the name {quoted(odd)} holds control characters; remove them"
            raise InputError(msg)
        if len(self.classes) > 254:
            msg = f"taxonomy {self.name}: at most 254 classes fit beside background and void"
            raise InputError(msg)

    def __len__(self) -> int:
        return len(self.classes)

    def id_of(self, name: str) -> int:
        """Return the number of a class (1..C)."""
        return self.classes.index(name) + 1

    def name_of(self, class_id: int) -> str:
        """Return the name of a class by its number (1..C)."""
        return self.classes[class_id - 1]


VOC20 = Taxonomy(
    "voc20",
    (
        "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
        "train", "tvmonitor",
    ),
)  # fmt: skip

COCO80 = Taxonomy(
    "coco80",
    (
        "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
        "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat",
        "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack",
        "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball",
        "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket",
        "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
        "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair",
        "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse",
        "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
        "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
        "toothbrush",
    ),
)  # fmt: skip

COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Numbers of COCO's 91 categories that are missing from the list of 80."""

COCO_IDS = tuple(number for number in range(1, 91) if number not in COCO_UNUSED)
"""Category ids of COCO, in the order of ``COCO80``."""

SHAPES8 = Taxonomy(
    "shapes8",
    ("disc", "square", "triangle", "star", "ring", "cross", "crescent", "hexagon"),
)

# The classes that Cityscapes evaluates, in the order of its train ids; from "person" on they have
# instances.
CITYSCAPES19 = Taxonomy(
    "cityscapes19",
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
        "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
        "motorcycle", "bicycle",
    ),
)  # fmt: skip

# The categories of ADE20K's instance masks (Places Challenge 2017), by their numbers.
ADE100 = Taxonomy(
    "ade100",
    (
        "bed", "windowpane", "cabinet", "person", "door", "table", "curtain", "chair", "car",
        "painting", "sofa", "shelf", "mirror", "armchair", "seat", "fence", "desk", "wardrobe",
        "lamp", "bathtub", "railing", "cushion", "box", "column", "signboard", "chest of drawers",
        "counter", "sink", "fireplace", "refrigerator", "stairs", "case", "pool table", "pillow",
        "screen door", "bookcase", "coffee table", "toilet", "flower", "book", "bench",
        "countertop", "stove", "palm", "kitchen island", "computer", "swivel chair", "boat",
        "arcade machine", "bus", "towel", "light", "truck", "chandelier", "awning", "streetlight",
        "booth", "television receiver", "airplane", "apparel", "pole", "bannister", "ottoman",
        "bottle", "van", "ship", "fountain", "washer", "plaything", "stool", "barrel", "basket",
        "bag", "minibike", "oven", "ball", "food", "step", "trade name", "microwave", "pot",
        "animal", "bicycle", "dishwasher", "screen", "sculpture", "hood", "sconce", "vase",
        "traffic light", "tray", "ashcan", "fan", "plate", "monitor", "bulletin board", "radiator",
        "glass", "clock", "flag",
    ),
)  # fmt: skip

TAXONOMIES: Mapping[str, Taxonomy] = {
    t.name: t for t in (VOC20, COCO80, SHAPES8, CITYSCAPES19, ADE100)
}

# COCO's spelling of VOC's classes; the other 60 COCO classes have no VOC class and are background.
COCO_TO_VOC20: Mapping[str, str] = {
    "airplane": "aeroplane", "bicycle": "bicycle", "bird": "bird", "boat": "boat",
    "bottle": "bottle", "bus": "bus", "car": "car", "cat": "cat", "chair": "chair", "cow": "cow",
    "dining table": "diningtable", "dog": "dog", "horse": "horse", "motorcycle": "motorbike",
    "person": "person", "potted plant": "pottedplant", "sheep": "sheep", "couch": "sofa",
    "train": "train", "tv": "tvmonitor",
}  # fmt: skip

# LVIS's finer names of VOC's classes. If COCO's annotators agree on a kind, they decide (a police
# cruiser is a car, a donkey a horse, any plain table a dining table); if not, VOC's guidelines do
# (tricycles and unicycles are bicycles; wheelchairs are not chairs, ambulances not cars, jet skis
# not boats). Parts of an object are left out: a railcar lies on top of its own train. The content
# of bottles (perfume, hot sauce) is left out too: only some of it is drawn as the bottle.
# "flowerpot" is the name that LVIS itself equates with COCO's potted plant.
_LVIS_NAMES: Mapping[str, tuple[str, ...]] = {
    "aeroplane": ("airplane", "fighter_jet", "jet_plane", "seaplane"),
    "bicycle": ("bicycle", "tricycle", "unicycle"),
    "bird": (
        "bird", "chicken_(animal)", "cock", "crow", "dove", "duck", "duckling", "eagle", "falcon",
        "flamingo", "goose", "gull", "heron", "hummingbird", "mallard", "ostrich", "owl",
        "parakeet", "parrot", "pelican", "penguin", "pigeon", "puffin", "seabird", "vulture",
    ),
    "boat": (
        "boat", "barge", "canoe", "cargo_ship", "cruise_ship", "dinghy", "ferry", "gondola_(boat)",
        "houseboat", "kayak", "passenger_ship", "raft", "river_boat", "yacht",
    ),
    "bottle": ("bottle", "beer_bottle", "thermos_bottle", "water_bottle", "wine_bottle"),
    "bus": ("bus_(vehicle)", "school_bus"),
    "car": (
        "car_(automobile)", "cab_(taxi)", "convertible_(automobile)", "jeep", "limousine",
        "minivan", "police_cruiser", "race_car",
    ),
    "cat": ("cat", "kitten"),
    "chair": (
        "chair", "armchair", "deck_chair", "electric_chair", "folding_chair", "highchair",
        "recliner", "rocking_chair",
    ),
    "cow": ("cow", "bull", "calf"),
    "diningtable": ("dining_table", "kitchen_table", "table"),
    "dog": ("dog", "bulldog", "dalmatian", "pug-dog", "puppy", "shepherd_dog"),
    "horse": ("horse", "domestic_ass", "foal", "pony"),
    "motorbike": ("motorcycle", "dirt_bike", "motor_scooter"),
    "person": ("person",),
    "pottedplant": ("flowerpot",),
    "sheep": ("sheep", "black_sheep", "lamb_(animal)", "ram_(animal)"),
    "sofa": ("sofa", "loveseat", "sofa_bed"),
    "train": ("train_(railroad_vehicle)", "bullet_train"),
    "tvmonitor": ("television_set", "monitor_(computer_equipment) computer_monitor"),
}  # fmt: skip

LVIS_TO_VOC20: Mapping[str, str] = {
    name: voc_class for voc_class, names in _LVIS_NAMES.items() for name in names
}

CLASS_MAPS: Mapping[str, Mapping[str, str]] = {
    "coco-to-voc20": COCO_TO_VOC20,
    "lvis-to-voc20": LVIS_TO_VOC20,
}


@dataclass(frozen=True)
class ClassMap:
    """Mapping from a source's category names to the class numbers of a taxonomy.

    A category that is not in the map is background in the set.
    """

    taxonomy: Taxonomy
    names: Mapping[str, str]

    def __post_init__(self) -> None:
        strangers = sorted(set(self.names.values()) - set(self.taxonomy.classes))
        if strangers:
            msg = (
                f"the class map has targets {', '.join(strangers)} that are not in taxonomy "
                f"{self.taxonomy.name} ({', '.join(self.taxonomy.classes)})"
            )
            raise InputError(msg)

    def class_of(self, category: str) -> int | None:
        """Return the class number of a source's category, or None if it has none."""
        name = self.names.get(category)
        return None if name is None else self.taxonomy.id_of(name)

    def unmatched(self, categories: Iterable[str]) -> dict[str, str]:
        """Return the classes that no category of a source maps to.

        Args:
            categories: Categories of the source, by its own names.

        Returns:
            For each such class, in the taxonomy's order, the category whose name is closest to one
            that would map to it, or an empty text if none is close.
        """
        known = set(categories)
        reached = {self.names[name] for name in known & set(self.names)}
        alike = {_folded(name): name for name in sorted(known - set(self.names), reverse=True)}
        found = {}
        for missing in self.taxonomy.classes:
            if missing not in reached:
                names = [_folded(name) for name, to in self.names.items() if to == missing]
                found[missing] = next((alike[name] for name in names if name in alike), "")
        return found


def alike(names: Sequence[str], others: Sequence[str]) -> bool:
    """Return True if names are the same in the same order, apart from their spelling.

    >>> alike(["Dining table", "cat"], ["dining-table", "cat"])
    True
    """
    return [_folded(name) for name in names] == [_folded(name) for name in others]


def _folded(name: str) -> str:
    """Return a name without differences in spelling: case, blanks, hyphens and underscores."""
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if c.isalnum())


def list_unmatched(unmatched: Mapping[str, str], shown: int = 5) -> str:
    """Return the first classes of :meth:`ClassMap.unmatched`, those with a near miss before others.

    >>> list_unmatched({"hen": "", "fox": "Fox", "owl": ""}, shown=2)
    "fox (it has 'Fox'), hen and 1 more"
    """
    near_first = sorted(unmatched.items(), key=lambda pair: not pair[1])
    named = [
        f"{name} (it has {quoted(near)})" if near else name for name, near in near_first[:shown]
    ]
    more = f" and {len(unmatched) - shown} more" if len(unmatched) > shown else ""
    return ", ".join(named) + more


def describe_unmatched(unmatched: Mapping[str, str], where: str) -> str:
    """Describe the classes without a category in a source, with near misses; empty if all have one.

    >>> describe_unmatched({"fox": "Fox", "hen": ""}, "a.json")
    "a.json has no category for 2 classes: fox (it has 'Fox'), hen; such objects are background"
    """
    if not unmatched:
        return ""
    return (
        f"{where} has no category for {count(len(unmatched), 'class', 'classes')}: "
        f"{list_unmatched(unmatched)}; such objects are background"
    )


def class_map(taxonomy: Taxonomy, spec: str | Mapping[str, str] | None) -> ClassMap:
    """Return the named map, the given one, or the identity of the taxonomy's own names.

    Raises:
        InputError: If the name is not in ``CLASS_MAPS``.
    """
    if spec is None or spec == "identity":
        return ClassMap(taxonomy, {name: name for name in taxonomy.classes})
    if isinstance(spec, str):
        if spec not in CLASS_MAPS:
            known = ", ".join(("identity", *sorted(CLASS_MAPS)))
            msg = f"unknown class map {quoted(spec)}; known: {known}"
            raise InputError(msg)
        return ClassMap(taxonomy, CLASS_MAPS[spec])
    return ClassMap(taxonomy, dict(spec))


def own_or_coco_map(taxonomy: Taxonomy) -> ClassMap:
    """Return the map of a taxonomy's own names; for VOC's classes, of COCO's names as well.

    >>> names = own_or_coco_map(VOC20)
    >>> names.class_of("tv"), names.class_of("tvmonitor"), names.class_of("truck")
    (20, 20, None)
    """
    own = {name: name for name in taxonomy.classes}
    further = COCO_TO_VOC20 if taxonomy.classes == VOC20.classes else {}
    return ClassMap(taxonomy, {**own, **further})


def named_taxonomy(name: str) -> Taxonomy:
    """Return a known taxonomy by name, or read one from a text file with one class name per line.

    Raises:
        InputError: If the name is unknown, or the file is not such a list, has a comment or names
            background.
    """
    if name in TAXONOMIES:
        return TAXONOMIES[name]
    path = Path(name)
    if path.is_file():
        lines = read_lines(path, "class names")
        classes = tuple(line.strip() for line in lines if line.strip())
        comment = next((line for line in classes if line.startswith("#")), None)
        if comment is not None:
            msg = (
                f"{path}: {quoted(comment)}: every line is the name of a class, also one that "
                "begins with #; remove it from the list"
            )
            raise InputError(msg)
        check_foreground(classes, str(path))
        return Taxonomy(path.stem, classes)
    msg = (
        f"unknown taxonomy {quoted(name)}; known: {', '.join(sorted(TAXONOMIES))}, or a text file "
        "with one class name per line"
    )
    raise InputError(msg)


def check_foreground(classes: Iterable[str], where: str) -> None:
    """Check that a list of classes in the order of their numbers does not begin with background.

    Other tools list background as number 0. Here every class would get the name of the one before.

    Args:
        classes: Names of the classes 1, 2, ...
        where: Name of the list for the message.

    Raises:
        InputError: If one of them is called background, in any spelling, even with a number or a
            colour, such as ``background:0,0,0::``.
    """
    for name in classes:
        if "".join(filter(str.isalpha, _folded(name))) in ("background", "bg"):
            msg = (
                f"{where}: {quoted(name)} is not a class but number 0, and the list begins with "
                "number 1; remove it from the list"
            )
            raise InputError(msg)
