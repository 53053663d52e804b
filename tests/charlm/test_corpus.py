"""Reading, vocabulary, split, and that every batch is what a model should learn from."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from rnnx.charlm.corpus import (
    Batch,
    NameBatches,
    Vocabulary,
    bundled_towns,
    pad,
    read_names,
    read_stream,
    read_text,
    split_names,
    split_text,
    windows,
)
from rnnx.errors import DataError, OptionError


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "text.txt"
    path.write_bytes(data)
    return path


def names_of(batch: Batch, vocabulary: Vocabulary) -> list[str]:
    """Read the names back from the targets, asserting that ids are the targets one step earlier."""
    found = []
    for ids, targets, mask in zip(batch.ids.T, batch.targets.T, batch.mask.T, strict=True):
        steps = int(mask.sum())
        assert mask[:steps].all()
        line = vocabulary.decode(targets[:steps])
        assert line.endswith("\n")
        assert "\n" not in line[:-1]
        assert vocabulary.decode(ids[:steps]) == "\n" + line[:-1]
        assert set(vocabulary.decode(ids[steps:]) + vocabulary.decode(targets[steps:])) <= {"\n"}
        found.append(line[:-1])
    return found


class TestReading:
    def test_newlines_and_byte_order_mark(self, tmp_path: Path) -> None:
        path = saved(tmp_path, b"\xef\xbb\xbfLe\xc3\xb3n\r\nTula\rA\n")
        assert read_text(path) == "León\nTula\nA\n"

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no file .*towns"):
            read_text(tmp_path / "towns")

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"directory|cannot be read"):
            read_text(tmp_path)

    def test_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            read_text(tmp_path / "text.txt")

    @pytest.mark.parametrize(
        ("data", "said"),
        [(b"", "is empty"), (b"\xef\xbb\xbf", "is empty"), (b" \n\t\r\n", "only white space")],
    )
    def test_nothing_in_it(self, tmp_path: Path, data: bytes, said: str) -> None:
        with pytest.raises(DataError, match=said):
            read_text(saved(tmp_path, data))

    @pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
    def test_not_utf8_says_which_byte(self, tmp_path: Path, start: bytes) -> None:
        with pytest.raises(DataError, match=f"byte {len(start) + 2} is 0xf3") as caught:
            read_text(saved(tmp_path, start + "León\n".encode("latin1")))
        assert "iconv" in caught.value.hint

    def test_names_are_stripped_distinct_and_in_order(self, tmp_path: Path) -> None:
        assert read_names(saved(tmp_path, b"  Tula \n\nAyo\n\nTula\nBaca")) == ["Tula", "Ayo", "Baca"]

    @pytest.mark.parametrize("data", [b"Tula", b"Tula\n Tula\n\n"])
    def test_one_name_is_too_few(self, tmp_path: Path, data: bytes) -> None:
        with pytest.raises(DataError, match="at least 2") as caught:
            read_names(saved(tmp_path, data))
        assert "--text" in caught.value.hint

    def test_stream_is_the_whole_text(self, tmp_path: Path) -> None:
        assert read_stream(saved(tmp_path, b" a b\n\n")) == " a b\n\n"

    @pytest.mark.parametrize("data", [b"a", b"aaa"])
    def test_stream_too_plain(self, tmp_path: Path, data: bytes) -> None:
        with pytest.raises(DataError, match=f"only 'a', {len(data)} times"):
            read_stream(saved(tmp_path, data))


class TestVocabulary:
    def test_names_bring_the_newline(self) -> None:
        assert Vocabulary.from_names(["ba", "ñ"]).characters == "\nabñ"
        assert Vocabulary.from_text("baab").characters == "ab"

    def test_round_trip_beyond_the_basic_plane(self) -> None:
        text = "a😀ñ漢\na"
        vocabulary = Vocabulary.from_text(text)
        ids = vocabulary.encode(text)
        assert ids.dtype == np.int64
        assert ids.tolist() == [vocabulary.characters.index(c) for c in text]
        assert vocabulary.decode(ids) == vocabulary.decode(ids.tolist()) == text
        assert vocabulary.encode("").shape == (0,)
        assert vocabulary.decode([]) == ""

    @pytest.mark.parametrize("unknown", ["!", "b", "z", "😀"])
    def test_unknown_character(self, unknown: str) -> None:
        with pytest.raises(DataError, match="position 2,") as caught:
            Vocabulary("ac").encode(f"ac{unknown}a")
        assert repr(unknown) in caught.value.problem
        assert "only 2 characters: 'ac'" in caught.value.hint

    @pytest.mark.parametrize("wrong", [-1, 2])
    def test_unknown_id(self, wrong: int) -> None:
        with pytest.raises(DataError, match=f"id {wrong} "):
            Vocabulary("ab").decode([0, wrong])

    @pytest.mark.parametrize("characters", ["", "ba", "aab"])
    def test_broken_characters(self, characters: str) -> None:
        with pytest.raises(DataError, match="sorted distinct"):
            Vocabulary(characters)


class TestSplit:
    def test_parts_are_the_whole(self) -> None:
        towns = bundled_towns()
        train, held_out = split_names(towns, seed=0)
        assert (len(train), len(held_out)) == (6762, 751)
        assert sorted(train + held_out) == towns

    def test_the_seed_decides(self) -> None:
        names = [str(i) for i in range(100)]
        assert split_names(names, seed=1) == split_names(names, seed=1)
        assert split_names(names, seed=1)[1] != split_names(names, seed=2)[1]

    @pytest.mark.parametrize("share", [0.001, 0.999])
    def test_no_part_is_empty(self, share: float) -> None:
        assert sorted(map(len, split_names(["a", "b", "c"], 0, share))) == [1, 2]

    def test_bad_arguments(self) -> None:
        with pytest.raises(DataError, match="1 names"):
            split_names(["a"], 0)
        with pytest.raises(OptionError, match="seed is -1"):
            split_names(["a", "b"], -1)
        for share in (-0.1, 1.0, float("nan")):
            with pytest.raises(OptionError, match="held-out share"):
                split_names(["a", "b"], 0, share)

    def test_a_share_of_zero_holds_out_nothing(self) -> None:
        train, held_out = split_names(["a", "b", "c"], 0, 0.0)
        assert (sorted(train), held_out) == (["a", "b", "c"], [])
        ids = np.arange(7)
        train, held_out = split_text(ids, 0.0)
        np.testing.assert_array_equal(train, ids)
        assert len(held_out) == 0

    @pytest.mark.parametrize(("length", "held_out"), [(4, 2), (20, 2), (100, 10)])
    def test_text_holds_out_its_end(self, length: int, held_out: int) -> None:
        train, end = split_text(np.arange(length))
        assert len(end) == held_out
        assert np.array_equal(np.concatenate([train, end]), np.arange(length))

    def test_text_too_short(self) -> None:
        with pytest.raises(DataError, match="3 characters"):
            split_text(np.arange(3))


class TestBatches:
    def test_pad_by_hand(self) -> None:
        batch = pad(["ab", ""], Vocabulary("\nab"))
        assert batch.ids.T.tolist() == [[0, 1, 2], [0, 0, 0]]
        assert batch.targets.T.tolist() == [[1, 2, 0], [0, 0, 0]]
        assert batch.mask.T.tolist() == [[True, True, True], [True, False, False]]
        assert [str(array.dtype) for array in batch] == ["int64", "int64", "bool"]

    def test_padding_is_the_newline_even_where_its_id_is_not_zero(self) -> None:
        batch = pad(["\tb", "b"], Vocabulary("\t\nb"))
        assert batch.ids.T.tolist() == [[1, 0, 2], [1, 2, 1]]
        assert batch.targets.T.tolist() == [[0, 2, 1], [2, 1, 1]]

    def test_bad_names(self) -> None:
        with pytest.raises(DataError, match="no names"):
            pad([], Vocabulary("\na"))
        with pytest.raises(DataError, match="holds a newline"):
            pad(["a", "a\na"], Vocabulary("\na"))
        with pytest.raises(DataError, match="'b'"):
            pad(["a", "ab"], Vocabulary("\na"))

    def test_an_epoch_holds_each_name_once(self) -> None:
        names = bundled_towns()[:961]
        vocabulary = Vocabulary.from_names(names)
        batches = list(NameBatches(names, vocabulary).epoch(64, np.random.default_rng(0)))
        assert sorted(batch.ids.shape[1] for batch in batches) == [1] + [64] * 15
        read = [name for batch in batches for name in names_of(batch, vocabulary)]
        assert read != names
        assert sorted(read) == names

    def test_epochs_differ_and_the_seed_decides(self) -> None:
        names = bundled_towns()[:500]
        vocabulary = Vocabulary.from_names(names)
        batches = NameBatches(names, vocabulary)

        def order(rng: np.random.Generator) -> list[str]:
            return [name for batch in batches.epoch(32, rng) for name in names_of(batch, vocabulary)]

        rng = np.random.default_rng(3)
        first, second = order(rng), order(rng)
        assert first != second
        assert first == order(np.random.default_rng(3))

    def test_little_is_padding_and_batches_come_in_no_order_of_length(self) -> None:
        towns = bundled_towns()
        batches = list(NameBatches(towns, Vocabulary.from_names(towns)).epoch(64, np.random.default_rng(0)))
        real = sum(int(batch.mask.sum()) for batch in batches)
        assert real == sum(len(name) + 1 for name in towns)
        assert real > 0.85 * sum(batch.mask.size for batch in batches)
        lengths = [len(batch.ids) for batch in batches[:16]]
        assert lengths != sorted(lengths)

    @pytest.mark.parametrize(("batch_size", "bucket"), [(0, 16), (4, 0)])
    def test_bad_sizes(self, batch_size: int, bucket: int) -> None:
        with pytest.raises(OptionError, match="1 or more"):
            NameBatches(["a"], Vocabulary("\na")).epoch(batch_size, np.random.default_rng(0), bucket)


class TestWindows:
    @pytest.mark.parametrize("length", [1, 4, 5])
    @pytest.mark.parametrize("size", [6, 9, 10, 13, 14, 15])
    def test_batch_of_one_is_min_char_rnn(self, size: int, length: int) -> None:
        data = list(range(size))
        p = 0
        for n, (batch, reset) in enumerate(islice(windows(np.arange(size), length), 30)):
            restart = n == 0 or p + length + 1 >= size
            p = 0 if restart else p
            assert reset is restart
            assert batch.ids.tolist() == [[i] for i in data[p : p + length]]
            assert batch.targets.tolist() == [[i] for i in data[p + 1 : p + length + 1]]
            assert batch.mask.shape == (length, 1)
            assert batch.mask.all()
            p += length

    def test_streams_run_side_by_side(self) -> None:
        first, second, third = islice(windows(np.arange(14), length=2, batch_size=2), 3)
        assert first.batch.ids.T.tolist() == [[0, 1], [7, 8]]
        assert first.batch.targets.T.tolist() == [[1, 2], [8, 9]]
        assert second.batch.ids.T.tolist() == [[2, 3], [9, 10]]
        assert third.batch.ids.T.tolist() == [[0, 1], [7, 8]]
        assert (first.reset, second.reset, third.reset) == (True, False, True)

    def test_too_short(self) -> None:
        next(windows(np.arange(8), length=3, batch_size=2))
        with pytest.raises(DataError, match=r"7 characters in 2 streams are 3 each; .* 4") as caught:
            windows(np.arange(7), length=3, batch_size=2)
        assert "--window or --batch" in caught.value.hint

    @pytest.mark.parametrize(("length", "batch_size"), [(0, 1), (1, 0)])
    def test_bad_sizes(self, length: int, batch_size: int) -> None:
        with pytest.raises(OptionError, match="1 or more"):
            windows(np.arange(8), length, batch_size)
