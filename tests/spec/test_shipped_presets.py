from ndpsim.spec.presets import all_presets


def test_every_number_in_shipped_presets_has_a_source():
    missing = [
        f"{preset.label}: {'.'.join(map(str, location))}"
        for preset in all_presets()
        for location in preset.unsourced
    ]
    assert missing == []


def test_names_of_shipped_presets_are_lower_case_with_hyphens():
    for preset in all_presets():
        assert preset.name == preset.name.lower()
        assert "_" not in preset.name
        assert " " not in preset.name
