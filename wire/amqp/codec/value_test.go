package codec_test

import (
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustArray(t testing.TB, k codec.Kind, elements ...codec.Value) codec.Value {
	t.Helper()
	v, err := codec.Array(k, elements...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestForms has every constructor of the standard: what it decodes to, and that
// the value is written in the shortest form.
func TestForms(t *testing.T) {
	uuid := [16]byte{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00}
	long := strings.Repeat("x", 256)
	longHex := hex.EncodeToString([]byte(long))
	for _, c := range []struct {
		wire  string
		want  codec.Value
		canon string // empty: the same as wire
		text  string
	}{
		{"40", codec.Value{}, "", "null"},
		{"41", codec.Bool(true), "", "true"},
		{"42", codec.Bool(false), "", "false"},
		{"5601", codec.Bool(true), "41", "true"},
		{"5600", codec.Bool(false), "42", "false"},
		{"50ff", codec.Ubyte(255), "", "255"},
		{"60fffe", codec.Ushort(65534), "", "65534"},
		{"43", codec.Uint(0), "", "0"},
		{"5207", codec.Uint(7), "", "7"},
		{"7000000007", codec.Uint(7), "5207", "7"},
		{"7000000100", codec.Uint(256), "", "256"},
		{"44", codec.Ulong(0), "", "0"},
		{"53ff", codec.Ulong(255), "", "255"},
		{"800000000000000000", codec.Ulong(0), "44", "0"},
		{"80ffffffffffffffff", codec.Ulong(math.MaxUint64), "", "18446744073709551615"},
		{"5180", codec.Byte(-128), "", "-128"},
		{"618000", codec.Short(-32768), "", "-32768"},
		{"5480", codec.Int(-128), "", "-128"},
		{"71ffffff80", codec.Int(-128), "5480", "-128"},
		{"71ffffff7f", codec.Int(-129), "", "-129"},
		{"7100000080", codec.Int(128), "", "128"},
		{"55ff", codec.Long(-1), "", "-1"},
		{"81ffffffffffffffff", codec.Long(-1), "55ff", "-1"},
		{"818000000000000000", codec.Long(math.MinInt64), "", "-9223372036854775808"},
		{"723fc00000", codec.Float(1.5), "", "1.5"},
		{"823ff8000000000000", codec.Double(1.5), "", "1.5"},
		{"7422500001", codec.Decimal32(0x22500001), "", "decimal32"},
		{"842234000000000001", codec.Decimal64(0x2234000000000001), "", "decimal64"},
		{"94" + hex.EncodeToString(uuid[:]), codec.Decimal128(uuid), "", "decimal128"},
		{"730001f600", codec.Char('😀'), "", "'😀'"},
		{"830000000000000000", codec.Timestamp(0).Value(), "", "1970-01-01T00:00:00Z"},
		{"98" + hex.EncodeToString(uuid[:]), codec.UUID(uuid), "", "123e4567-e89b-12d3-a456-426614174000"},
		{"a00201ff", codec.Binary([]byte{1, 255}), "", "0x01ff"},
		{"b00000000201ff", codec.Binary([]byte{1, 255}), "a00201ff", "0x01ff"},
		{"a103e282ac", codec.String("€"), "", `"€"`},
		{"b100000003e282ac", codec.String("€"), "a103e282ac", `"€"`},
		{"b100000100" + longHex, codec.String(long), "", `"` + long[:64] + `"…`},
		{"a30161", codec.Symbol("a"), "", `"a"`},
		{"b30000000161", codec.Symbol("a"), "a30161", `"a"`},
		{"45", codec.List(), "", "list of 0"},
		{"c00100", codec.List(), "45", "list of 0"},
		{"d00000000400000000", codec.List(), "45", "list of 0"},
		{"c0040243a10161", codec.Value{}, "bad", ""}, // one byte too few
		{"c0050243a10161", codec.List(codec.Uint(0), codec.String("a")), "", "list of 2"},
		{"d0000000080000000243a10161", codec.List(codec.Uint(0), codec.String("a")), "c0050243a10161", "list of 2"},
		{"c10702a301615101", codec.Value{}, "bad", ""}, // one byte too many
		{"c10602a301615101", codec.NewMap(codec.Symbol("a"), codec.Byte(1)).Value(), "", "map of 1"},
		{"d1000000090000000 2a301615101", codec.NewMap(codec.Symbol("a"), codec.Byte(1)).Value(), "c10602a301615101", "map of 1"},
		{"c10100", codec.NewMap().Value(), "", "map of 0"},
		{"e00402520102", mustArray(t, codec.KindUint, codec.Uint(1), codec.Uint(2)), "", "array of 2"},
		{"f0000000070000000 2520102", mustArray(t, codec.KindUint, codec.Uint(1), codec.Uint(2)), "e00402520102", "array of 2"},
		{"e00a02700000000100000002", mustArray(t, codec.KindUint, codec.Uint(1), codec.Uint(2)), "e00402520102", "array of 2"},
		{"e00a02700000000100000102", mustArray(t, codec.KindUint, codec.Uint(1), codec.Uint(258)), "", "array of 2"},
		{"e0020543", mustArray(t, codec.KindUint, make5()...), "e00705520000000000", "array of 5"},
		{"e00402560100", mustArray(t, codec.KindBool, codec.Bool(true), codec.Bool(false)), "", "array of 2"},
		{"e0020341", mustArray(t, codec.KindBool, codec.Bool(true), codec.Bool(true), codec.Bool(true)), "e0050356010101", "array of 3"},
		{"e00702a10161026262", codec.Strings("a", "bb"), "", "array of 2"},
		{"005324 45", codec.Described(codec.Ulong(0x24), codec.List()), "", "@ulong value"},
		{"00800000000000000024 45", codec.Described(codec.Ulong(0x24), codec.List()), "00532445", "@ulong value"},
	} {
		b := unhex(t, c.wire)
		v, rest, err := codec.Decode(append(b, 0xEE))
		if c.canon == "bad" {
			if err == nil {
				t.Errorf("%s: decoded to %v", c.wire, v)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.wire, err)
			continue
		}
		if len(rest) != 1 {
			t.Errorf("%s: %d bytes left over", c.wire, len(rest)-1)
		}
		if v.Kind() != c.want.Kind() || !v.Equal(c.want) {
			t.Errorf("%s: %v %v, want %v %v", c.wire, v.Kind(), v, c.want.Kind(), c.want)
		}
		canon := c.canon
		if canon == "" {
			canon = c.wire
		}
		canon = strings.ReplaceAll(canon, " ", "")
		if got := hex.EncodeToString(v.Append(nil)); got != canon {
			t.Errorf("%s: written as %s, want %s", c.wire, got, canon)
		}
		if got := hex.EncodeToString(c.want.Append(nil)); got != canon {
			t.Errorf("%s: built and written as %s, want %s", c.wire, got, canon)
		}
		if v.String() != c.text {
			t.Errorf("%s: %s, want %s", c.wire, v, c.text)
		}
	}
}

func make5() []codec.Value {
	return []codec.Value{codec.Uint(0), codec.Uint(0), codec.Uint(0), codec.Uint(0), codec.Uint(0)}
}

func TestRefuse(t *testing.T) {
	for name, c := range map[string]struct{ wire, want string }{
		"nothing":                     {"", "bytes end within a value"},
		"reserved constructor":        {"01", "unknown constructor 0x01"},
		"reserved fixed width":        {"46", "unknown constructor 0x46"},
		"reserved one byte":           {"5700", "unknown constructor 0x57"},
		"reserved two bytes":          {"620000", "unknown constructor 0x62"},
		"reserved variable":           {"a20161", "unknown constructor 0xa2"},
		"reserved compound":           {"c20100", "unknown constructor 0xc2"},
		"reserved array":              {"e10100", "unknown constructor 0xe1"},
		"boolean 2":                   {"5602", "boolean is neither 0 nor 1"},
		"short ubyte":                 {"50", "bytes end within a value"},
		"short ushort":                {"6000", "bytes end within a value"},
		"short uint":                  {"70000000", "bytes end within a value"},
		"short ulong":                 {"8000000000000000", "bytes end within a value"},
		"short uuid":                  {"98000000", "bytes end within a value"},
		"short string":                {"a10261", "bytes end within a value"},
		"string of 4 GB":              {"b1ffffffff61", "bytes end within a value"},
		"list of 4 GB":                {"d0ffffffff00000000", "bytes end within a value"},
		"list of many":                {"d00000000500ffffff40", "list has more than 1048576 elements"},
		"list without a count":        {"c000", "bytes end within a value"},
		"list with a rest":            {"c003014040", "bytes after the last element of a list"},
		"list with an unknown":        {"c0020101", "unknown constructor 0x01"},
		"map with half a pair":        {"c1020140", "map has a key without a value"},
		"map with a key twice":        {"c10704530140530140", "map has a key twice"},
		"map, twice in other form":    {"c109044340700000000040", "map has a key twice"},
		"map with a list as key":      {"c103024540", "map has a list as a key"},
		"array without constructor":   {"e00101", "bytes end within a value"},
		"array of unknown":            {"e003010101", "unknown constructor 0x01"},
		"array with a rest":           {"e00401520101", "bytes after the last element of an array"},
		"array of too few":            {"e00303520101", "bytes end within a value"},
		"array of billions of nulls":  {"f000000005000fffff40", "array has more than 4096 elements without bytes"},
		"string with a bad sequence":  {"a101ff", "string is not valid UTF-8"},
		"string with a surrogate":     {"a103eda080", "string is not valid UTF-8"},
		"symbol with a high bit":      {"a301ff", "symbol is not ASCII"},
		"char beyond Unicode":         {"7300110000", "char is not a Unicode scalar value"},
		"char that is a surrogate":    {"730000d800", "char is not a Unicode scalar value"},
		"bad string in a list":        {"c00401a101ff", "string is not valid UTF-8"},
		"bad symbol in an array":      {"e00401a301ff", "symbol is not ASCII"},
		"descriptor without a value":  {"005324", "bytes end within a value"},
		"nothing described":           {"00", "bytes end within a value"},
		"descriptors without an end":  {strings.Repeat("00", codec.MaxDepth+1) + strings.Repeat("43", codec.MaxDepth+2), "values are nested deeper than 32"},
		"descriptors of descriptors":  {strings.Repeat("00", 5000), "values are nested deeper than 32"},
		"array of descriptor chains":  {"e0ff01" + strings.Repeat("00", 254), "values are nested deeper than 32"},
		"bad string as a descriptor":  {"00a101ff40", "string is not valid UTF-8"},
		"described with bad contents": {"005324a101ff", "string is not valid UTF-8"},
	} {
		v, _, err := codec.Decode(unhex(t, c.wire))
		var e *codec.Error
		if !errors.As(err, &e) || e.Condition != codec.DecodeError || e.Msg != c.want {
			t.Errorf("%s: value %v, error %v", name, v, err)
		}
	}
}

func TestDepth(t *testing.T) {
	v := codec.Uint(1)
	for range codec.MaxDepth {
		v = codec.List(v)
	}
	if _, _, err := codec.Decode(v.Append(nil)); err != nil {
		t.Errorf("lists at the limit: %v", err)
	}
	if _, _, err := codec.Decode(codec.List(v).Append(nil)); err == nil {
		t.Error("lists beyond the limit were decoded")
	}
}

// TestLargeMap has more pairs than are compared with each other one by one.
func TestLargeMap(t *testing.T) {
	var b codec.MapBuilder
	for i := range 1000 {
		if !b.Add(codec.Uint(uint32(i)), codec.Bool(true)) {
			t.Fatalf("key %d was not added", i)
		}
	}
	if b.Add(codec.Uint(999), codec.Value{}) {
		t.Error("a key was added twice")
	}
	wire := b.Map().Value().Append(nil)
	v, _, err := codec.Decode(wire)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := v.Map()
	if x, ok := m.Get(codec.Uint(500)); !ok || m.Len() != 1000 || !x.Equal(codec.Bool(true)) {
		t.Errorf("map of %d, key 500 has %v", m.Len(), x)
	}
	// The last key, 999, becomes 998.
	copy(wire[len(wire)-6:], codec.Uint(998).Append(nil))
	if _, _, err := codec.Decode(wire); err == nil {
		t.Error("a large map with a key twice was decoded")
	}
}

func TestAccessors(t *testing.T) {
	if x, ok := codec.Ulong(math.MaxUint64).Int64(); ok {
		t.Errorf("ulong beyond long as %d", x)
	}
	if x, ok := codec.Int(-1).Uint64(); ok {
		t.Errorf("negative int as %d", x)
	}
	if x, ok := codec.Short(-2).Int64(); !ok || x != -2 {
		t.Errorf("short -2 as %d", x)
	}
	if x, ok := codec.Float(0.5).Float64(); !ok || x != 0.5 {
		t.Errorf("float 0.5 as %v", x)
	}
	if s, ok := codec.Symbol("a").Text(); !ok || s != "a" {
		t.Errorf("symbol as %q", s)
	}
	if _, ok := codec.Binary([]byte("a")).Text(); ok {
		t.Error("binary is text")
	}
	if s, _ := codec.String("a\xffb").Text(); s != "a\uFFFDb" {
		t.Errorf("string mended to %q", s)
	}
	if s, _ := codec.Symbol("aé").Text(); s != "a?" {
		t.Errorf("symbol mended to %q", s)
	}
	if r, _ := codec.Char(0xD800).Char(); r != 0xFFFD {
		t.Errorf("char mended to %U", r)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	if ts, ok := codec.TimestampOf(at).Value().Timestamp(); !ok || !ts.Time().Equal(at) {
		t.Errorf("timestamp %v", ts.Time())
	}
	early, _, err := codec.Decode(unhex(t, "83ffffffffffffffff"))
	if ts, _ := early.Timestamp(); err != nil || ts != -1 {
		t.Errorf("timestamp before the epoch: %d, %v", ts, err)
	}
	if _, err := codec.Array(codec.KindUint, codec.Ulong(1)); err == nil {
		t.Error("array of uint with a ulong")
	}
	if _, err := codec.Array(codec.KindDescribed); err == nil {
		t.Error("array of described values was built")
	}
}

// TestDescribedArray reads an array whose elements share a descriptor.
func TestDescribedArray(t *testing.T) {
	// array of 2, descriptor symbol "u", elements small uint 1 and 2
	wire := unhex(t, "e008 02 00a30175 52 01 02")
	v, _, err := codec.Decode(wire)
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(0)
	for e := range v.Elements() {
		want++
		d, x, ok := e.Described()
		if n, _ := x.Uint64(); !ok || !d.Equal(codec.Symbol("u")) || n != want {
			t.Errorf("element %v: descriptor %v, value %v", want, d, x)
		}
		if !e.Equal(codec.Described(codec.Symbol("u"), codec.Uint(uint32(want)))) {
			t.Errorf("element %d is not what it says", want)
		}
	}
	if want != 2 {
		t.Errorf("%d elements", want)
	}
	if got := v.Append(nil); hex.EncodeToString(got) != hex.EncodeToString(wire) {
		t.Errorf("written as %x", got)
	}
}
