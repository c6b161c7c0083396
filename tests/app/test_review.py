from app.review import class_keys


def test_digits_as_class_names_are_their_own_keys():
    assert class_keys(["0", "1", "7"]) == {"0": "0", "1": "1", "7": "7"}
    assert class_keys(["cat", "7"]) == {"1": "cat", "2": "7"}
    assert list(class_keys([f"class {k}" for k in range(12)])) == list("123456789")
