"""Format texts of tracepoints: fields, and flags by the names in their own ``print fmt``."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats.ring_buffer.event_format import Field, constant, parse_fields, parse_format
from ptpool.errors import UsageError
from ptpool.vocabulary import GFP_BITS, gfp_flags

TEXTS = Path(__file__).parent / "event_formats"

COMMON = """name: mm_page_alloc
ID: 353
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;
\tfield:unsigned int order;\toffset:16;\tsize:4;\tsigned:0;
\tfield:gfp_t gfp_flags;\toffset:20;\tsize:4;\tsigned:0;
\tfield:int migratetype;\toffset:24;\tsize:4;\tsigned:1;

print fmt: "page=%p pfn=%lu order=%d migratetype=%d gfp_flags=%s", REC->pfn, REC->order, REC->migratetype, (REC->gfp_flags) ? """
# How kernels spell the same masks: 4.x to 5.x, 6.1, 6.10 (names of bits, as posted with the fix in January 2025)
SPELLINGS = {
    "4.19": '{(unsigned long)((( gfp_t)(0x200000u|0x400000u)) | (( gfp_t)0x40u) | (( gfp_t)0x80u)), "GFP_KERNEL"}, {(unsigned long)(( gfp_t)0x8000u), "__GFP_ZERO"}, {(unsigned long)(( gfp_t)0), "__GFP_NOLOCKDEP"}',
    "6.1": '{( unsigned long)((( gfp_t)(0x400u|0x800u)) | (( gfp_t)0x40u) | (( gfp_t)0x80u)), "GFP_KERNEL"}, {( unsigned long)(( gfp_t)0x100u), "__GFP_ZERO"}',
    "6.10": '{( unsigned long)((( gfp_t)(((((1UL))) << (___GFP_DIRECT_RECLAIM_BIT))|((((1UL))) << (___GFP_KSWAPD_RECLAIM_BIT)))) | (( gfp_t)((((1UL))) << (___GFP_IO_BIT))) | (( gfp_t)((((1UL))) << (___GFP_FS_BIT)))), "GFP_KERNEL"}, {( unsigned long)(( gfp_t)((((1UL))) << (___GFP_ZERO_BIT))), "__GFP_ZERO"}',
}


@pytest.mark.parametrize("kernel", SPELLINGS)
def test_flags_are_read_as_each_kernel_spells_them(kernel: str) -> None:
    event = parse_format(f'{COMMON}__print_flags(REC->gfp_flags, "|", {SPELLINGS[kernel]} ) : "none"\n', "here")
    flags = event.flags("gfp_flags")
    masks = {name: mask for mask, name in flags.names}
    expected = (0x6000C0, 0x8000) if kernel == "4.19" else (0xCC0, 0x100)
    assert (masks["GFP_KERNEL"], masks["__GFP_ZERO"]) == expected
    assert flags.text(sum(expected)) == "GFP_KERNEL|__GFP_ZERO"
    assert flags.text(0) == "none"
    assert flags.text(0x20) == "0x20"
    assert event.number("gfp_flags") == Field("gfp_flags", 20, 4, False, False)


@pytest.mark.parametrize("text", sorted(TEXTS.iterdir()), ids=lambda text: text.name)
def test_whole_texts(text: Path) -> None:
    event = parse_format(text.read_text(), text.name)
    assert event.name == "mm_page_alloc"
    assert event.number("common_pid") == Field("common_pid", 4, 4, True, False)
    assert event.number("pfn") == Field("pfn", 8, 8, False, False)
    assert event.number("migratetype") == Field("migratetype", 32, 4, True, False)
    flags = event.flags("gfp_flags")
    assert flags.text(0x400DC0) == "GFP_KERNEL_ACCOUNT|__GFP_ZERO"
    assert flags.text(GFP_BITS["__GFP_COMP"] | GFP_BITS["__GFP_IO"] | 1 << 30) == "__GFP_IO|__GFP_COMP|0x40000000"
    for mask, name in flags.names:
        if name.startswith("__GFP") and name != "__GFP_NO_OBJ_EXT":  # whose bit depends on the kernel's configuration
            assert gfp_flags(name) == (mask, []), name


def test_arrays_and_page_header() -> None:
    fields = parse_fields(
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
        "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n"
        "\tfield:unsigned long caller[8];\toffset:16;\tsize:64;\tsigned:0;\n"
        "\tfield:__data_loc char[] name;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:struct page * page;\toffset:8;\tsize:8;\n",
        "header_page",
    )
    assert fields["commit"] == Field("commit", 8, 8, True, False)
    assert fields["caller"] == Field("caller", 16, 64, False, True)
    assert fields["name"].is_array
    assert fields["page"] == Field("page", 8, 8, False, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[10:], "no event format"),
        (lambda text: text.replace("common_type", "uncommon_type"), "no field common_type"),
        (lambda text: text.replace("offset:8;", "offset:99999;"), "impossible field"),
        (lambda text: text.replace("pfn;", "pfn[2];"), "field pfn of mm_page_alloc is no number"),
        (lambda text: text.replace("size:8;\tsigned:0;\n\tfield:unsigned int order", "size:7;"), "is no number"),
        (lambda text: text.replace("unsigned long pfn", "struct page * page"), "no field pfn"),
        (lambda text: text.replace("___GFP_IO_BIT", "MYSTERY"), "unknown constant MYSTERY"),
        (lambda text: text.replace("((((1UL))) << ", "(" * 200 + "1 << "), "nested too deep"),
        (lambda text: text.replace('"GFP_KERNEL"}', "GFP_KERNEL"), "not a flag with its name"),
    ],
)
def test_damage_is_named(change, message: str) -> None:  # type: ignore[no-untyped-def]
    good = f'{COMMON}__print_flags(REC->gfp_flags, "|", {SPELLINGS["6.10"]} ) : "none"\n'

    def read(text: str) -> None:
        event = parse_format(text, "trace.dat: event 3")
        event.number("pfn")
        event.flags("gfp_flags")

    read(good)
    with pytest.raises(UsageError, match=message) as caught:
        read(change(good))
    assert "trace.dat: event 3" in caught.value.what


NUMBERS = st.integers(0, 70).map(str) | st.integers(0, (1 << 64) - 1).map(hex)
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: (
        inner.map("(( gfp_t){})".format)
        | st.tuples(inner, st.sampled_from(["|", "&", "^"]), inner).map(" ".join)
        | st.tuples(inner, st.sampled_from(["+", "-"]), inner).map("({0[0]}) {0[1]} ({0[2]})".format)
        | inner.map("~({})".format)
        | st.tuples(inner, st.integers(0, 63)).map(lambda pair: f"({pair[0]}) << {pair[1]}")
    ),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_constants_agree_with_python(expression: str) -> None:
    expected = eval(expression.replace("( gfp_t)", ""))  # the same operators, the same precedence
    assert constant(expression.replace("0x", "0X") + " ", "here") == expected & ((1 << 64) - 1)
