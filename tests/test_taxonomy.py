"""Class lists and name maps against the official lists of names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.taxonomy import (
    CLASS_MAPS,
    COCO80,
    COCO_TO_VOC20,
    LVIS_TO_VOC20,
    SHAPES8,
    VOC20,
    ClassMap,
    Taxonomy,
    class_map,
    named_taxonomy,
)

LVIS_NAMES = [
    line
    for line in (Path(__file__).parent / "sources" / "lvis_v1_names.txt").read_text().splitlines()
    if not line.startswith("#")
]

# COCO's 80 thing categories with their ids, which have gaps, as in instances_val2017.json.
COCO_IDS = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign",
    14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep",
    21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 27: "backpack",
    28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove",
    41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass",
    47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza",
    60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote",
    76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink",
    82: "refrigerator", 84: "book", 85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear",
    89: "hair drier", 90: "toothbrush",
}  # fmt: skip

# Names that a VOC class's word occurs in and that are not that class, reviewed one by one.
NOT_VOC = {
    "things for animals, or that carry one's name": {
        "birdfeeder", "birdbath", "birdcage", "birdhouse", "cowbell", "dog_collar",
        "headstall_(for_horses)", "blinder_(for_horses)", "cowboy_hat", "gravy_boat", "sawhorse",
        "seahorse",
    },
    "words that mean something else": {
        "cabana", "cabinet", "file_cabinet", "card", "birthday_card", "business_card",
        "identity_card", "cardigan", "carnation", "carrot", "cart", "shopping_cart", "carton",
        "chili_(vegetable)", "eggplant", "peeler_(tool_for_fruit_and_vegetables)",
        "runner_(carpet)", "strainer", "sugarcane_(plant)",
    },
    "parts of things, and things that go with them": {
        "bottle_cap", "bottle_opener", "cork_(bottle_plug)", "car_battery", "elevator_car",
        "motor", "television_camera", "clippers_(for_plants)", "window_box_(for_plants)",
        "tablecloth", "table_lamp",
    },
    "parts of a train; they would lie on top of it": {
        "cabin_car", "freight_car", "passenger_car_(part_of_a_train)",
        "railcar_(part_of_a_train)",
    },
    "left out by VOC's guidelines": {
        "coffee_table", "pool_table", "table-tennis_table", "horse_buggy", "horse_carriage",
        "camper_(vehicle)", "motor_vehicle", "wheelchair", "water_scooter",
    },
}  # fmt: skip

# Every word of VOC's and COCO's names of the 20 classes; short ones count at a token's ends only.
LONG_WORDS = (
    "plane", "bicycle", "bird", "boat", "bottle", "chair", "table", "horse", "motor", "person",
    "plant", "sheep", "sofa", "couch", "train", "monitor", "television", "vehicle", "scooter",
)  # fmt: skip
SHORT_WORDS = ("bus", "cab", "car", "cat", "cow", "dog", "tv")


def names_a_voc_class(name: str) -> bool:
    tokens = re.split(r"[_()\-\s]+", name.lower())
    return any(word in name.lower() for word in LONG_WORDS) or any(
        token.startswith(word) or token.endswith(word) for token in tokens for word in SHORT_WORDS
    )


def test_the_list_of_lvis_names_is_whole() -> None:
    assert len(LVIS_NAMES) == len(set(LVIS_NAMES)) == 1203
    assert LVIS_NAMES[0] == "aerosol_can"
    assert LVIS_NAMES[-1] == "zucchini"


def test_coco80_is_cocos_list_in_its_order() -> None:
    assert list(COCO80.classes) == [COCO_IDS[i] for i in sorted(COCO_IDS)]
    assert len(COCO80) == 80


def test_voc20_is_in_the_order_of_the_devkits_indices() -> None:
    assert len(VOC20) == 20
    assert list(VOC20.classes) == sorted(VOC20.classes)
    assert (VOC20.id_of("person"), VOC20.name_of(9)) == (15, "chair")


@pytest.mark.parametrize(
    ("names", "official"),
    [(COCO_TO_VOC20, set(COCO_IDS.values())), (LVIS_TO_VOC20, set(LVIS_NAMES))],
    ids=["coco", "lvis"],
)
def test_maps_use_official_names_and_reach_every_class(
    names: dict[str, str], official: set[str]
) -> None:
    assert set(names) <= official
    assert set(names.values()) == set(VOC20.classes)


def test_each_coco_name_of_a_voc_class_is_mapped() -> None:
    assert len(COCO_TO_VOC20) == 20
    left_out = {n for n in COCO80.classes if names_a_voc_class(n)} - set(COCO_TO_VOC20)
    assert left_out == {"carrot", "hot dog"}


def test_each_lvis_name_with_a_voc_word_is_mapped_or_reviewed() -> None:
    left_out = {n for n in LVIS_NAMES if names_a_voc_class(n)} - set(LVIS_TO_VOC20)
    assert left_out == set().union(*NOT_VOC.values())


@pytest.mark.parametrize(
    ("name", "voc_class"),
    [
        ("cab_(taxi)", "car"), ("race_car", "car"), ("puppy", "dog"), ("cock", "bird"),
        ("houseboat", "boat"), ("monitor_(computer_equipment) computer_monitor", "tvmonitor"),
        ("flowerpot", "pottedplant"), ("domestic_ass", "horse"), ("loveseat", "sofa"),
        ("wolf", None), ("goat", None), ("laptop_computer", None), ("stool", None),
        ("helicopter", None), ("pickup_truck", None), ("lion", None), ("zebra", None),
    ],
)  # fmt: skip
def test_some_lvis_names(name: str, voc_class: str | None) -> None:
    assert name in LVIS_NAMES
    assert LVIS_TO_VOC20.get(name) == voc_class


def test_shapes_are_eight() -> None:
    assert len(SHAPES8) == 8


@pytest.mark.parametrize("classes", [(), ("a", "a"), ("a", ""), tuple(map(str, range(255)))])
def test_class_lists_that_cannot_be_numbered_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="taxonomy odd"):
        Taxonomy("odd", classes)


def test_a_map_numbers_the_categories_of_a_source() -> None:
    mapping = class_map(VOC20, "coco-to-voc20")
    assert mapping.class_of("airplane") == 1
    assert mapping.class_of("tv") == 20
    assert mapping.class_of("truck") is None


def test_a_taxonomys_own_names_are_the_default_map() -> None:
    for spec in (None, "identity"):
        mapping = class_map(VOC20, spec)
        assert [mapping.class_of(name) for name in VOC20.classes] == list(range(1, 21))


def test_a_map_of_ones_own_may_be_given() -> None:
    mapping = class_map(Taxonomy("pets", ("cat", "dog")), {"kitten": "cat", "puppy": "dog"})
    assert mapping.class_of("puppy") == 2


def test_unknown_maps_and_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown class map 'x'; known: .*lvis-to-voc20"):
        class_map(VOC20, "x")
    with pytest.raises(InputError, match="has targets hamster"):
        ClassMap(VOC20, {"pet": "hamster"})


@pytest.mark.parametrize(
    "first",
    [
        "background",
        "__background__",
        "Background",
        "0 background",
        "0: background",
        "background:0,0,0::",  # as in labelmap.txt
        "bg",
    ],
)
def test_a_list_of_classes_does_not_begin_with_background(tmp_path: Path, first: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(f"{first}\ncat\ndog\n")
    with pytest.raises(InputError, match=f"classes.txt: '{first}' is not a class but number 0"):
        named_taxonomy(str(path))
    path.write_text("cat\ndog\n")
    assert named_taxonomy(str(path)).classes == ("cat", "dog")


def test_a_comment_in_a_list_of_classes_is_no_class(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("# our animals\ncat\ndog\n")  # cat would be number 2
    with pytest.raises(InputError, match=r"classes.txt: '# our animals': every line is the name"):
        named_taxonomy(str(path))


def test_every_named_map_leads_to_known_classes() -> None:
    for name in CLASS_MAPS:
        class_map(VOC20, name)
