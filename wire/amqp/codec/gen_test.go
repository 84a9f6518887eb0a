package codec_test

import (
	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// simpleValues draws values of every type that has no values inside.
func simpleValues() *rapid.Generator[codec.Value] {
	return rapid.Custom(func(t *rapid.T) codec.Value {
		return simple(t, codec.Kind(rapid.IntRange(0, int(codec.KindSymbol)).Draw(t, "kind")))
	})
}

// commonValues draws those of types that go-amqp has, too.
func commonValues() *rapid.Generator[codec.Value] {
	return simpleValues().Filter(func(v codec.Value) bool {
		switch v.Kind() {
		case codec.KindDecimal32, codec.KindDecimal64, codec.KindDecimal128, codec.KindChar:
			return false
		}
		return true
	})
}

func simple(t *rapid.T, k codec.Kind) codec.Value {
	sixteen := func() (b [16]byte) {
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		return b
	}
	switch k {
	case codec.KindBool:
		return codec.Bool(rapid.Bool().Draw(t, "bool"))
	case codec.KindUbyte:
		return codec.Ubyte(rapid.Uint8().Draw(t, "ubyte"))
	case codec.KindUshort:
		return codec.Ushort(rapid.Uint16().Draw(t, "ushort"))
	case codec.KindUint:
		return codec.Uint(rapid.Uint32().Draw(t, "uint"))
	case codec.KindUlong:
		return codec.Ulong(rapid.Uint64().Draw(t, "ulong"))
	case codec.KindByte:
		return codec.Byte(rapid.Int8().Draw(t, "byte"))
	case codec.KindShort:
		return codec.Short(rapid.Int16().Draw(t, "short"))
	case codec.KindInt:
		return codec.Int(rapid.Int32().Draw(t, "int"))
	case codec.KindLong:
		return codec.Long(rapid.Int64().Draw(t, "long"))
	case codec.KindFloat:
		return codec.Float(rapid.Float32().Draw(t, "float"))
	case codec.KindDouble:
		return codec.Double(rapid.Float64().Draw(t, "double"))
	case codec.KindDecimal32:
		return codec.Decimal32(rapid.Uint32().Draw(t, "decimal32"))
	case codec.KindDecimal64:
		return codec.Decimal64(rapid.Uint64().Draw(t, "decimal64"))
	case codec.KindDecimal128:
		return codec.Decimal128(sixteen())
	case codec.KindChar:
		return codec.Char(rapid.Rune().Draw(t, "char"))
	case codec.KindTimestamp:
		return timestamps().Draw(t, "timestamp").Value()
	case codec.KindUUID:
		return codec.UUID(sixteen())
	case codec.KindBinary:
		return codec.Binary(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "binary"))
	case codec.KindString:
		return codec.String(rapid.StringN(0, 300, -1).Draw(t, "string"))
	case codec.KindSymbol:
		return codec.Symbol(symbols().Draw(t, "symbol"))
	}
	return codec.Value{}
}

func symbols() *rapid.Generator[string] { return rapid.StringMatching(`[a-z][a-z:-]{0,20}`) }

// timestamps are those that a time.Time has nanoseconds for.
func timestamps() *rapid.Generator[codec.Timestamp] {
	return rapid.Custom(func(t *rapid.T) codec.Timestamp {
		return codec.Timestamp(rapid.Int64Range(0, 4_102_444_800_000).Draw(t, "ms"))
	})
}

// values draws values nested up to depth, with leaves from one generator.
func values(depth int, leaves *rapid.Generator[codec.Value]) *rapid.Generator[codec.Value] {
	return rapid.Custom(func(t *rapid.T) codec.Value {
		if depth == 0 {
			return leaves.Draw(t, "leaf")
		}
		inner := values(depth-1, leaves)
		switch rapid.IntRange(0, 6).Draw(t, "what") {
		case 0:
			return codec.List(rapid.SliceOfN(inner, 0, 5).Draw(t, "list")...)
		case 1:
			var b codec.MapBuilder
			for range rapid.IntRange(0, 20).Draw(t, "pairs") {
				b.Add(leaves.Draw(t, "key"), inner.Draw(t, "value"))
			}
			return b.Map().Value()
		case 2:
			k := leaves.Draw(t, "sample").Kind()
			elements := make([]codec.Value, rapid.IntRange(0, 5).Draw(t, "elements"))
			for i := range elements {
				elements[i] = simple(t, k)
			}
			v, err := codec.Array(k, elements...)
			if err != nil {
				t.Fatal(err)
			}
			return v
		case 3:
			return codec.Described(leaves.Draw(t, "descriptor"), inner.Draw(t, "described"))
		}
		return leaves.Draw(t, "leaf")
	})
}

// mapsOf draws maps of up to n pairs.
func mapsOf(n int, key func(string) codec.Value, value *rapid.Generator[codec.Value]) *rapid.Generator[codec.Map] {
	return rapid.Custom(func(t *rapid.T) codec.Map {
		var b codec.MapBuilder
		for range rapid.IntRange(0, n).Draw(t, "pairs") {
			b.Add(key(symbols().Draw(t, "key")), value.Draw(t, "value"))
		}
		return b.Map()
	})
}

func optional[T comparable](t *rapid.T, g *rapid.Generator[T], not T) codec.Optional[T] {
	if v := g.Draw(t, "optional"); v != not {
		return codec.Some(v)
	}
	return codec.Optional[T]{}
}

// messages draws messages with maps of up to n pairs.
func messages(n int, leaves *rapid.Generator[codec.Value]) *rapid.Generator[codec.Message] {
	return rapid.Custom(func(t *rapid.T) codec.Message {
		text := rapid.StringN(0, 40, -1)
		inner := values(2, leaves)
		m := codec.Message{
			Header: codec.Header{
				Durable:       rapid.Bool().Draw(t, "durable"),
				Priority:      optional(t, rapid.Uint8(), codec.DefaultPriority),
				TTL:           optional(t, rapid.Uint32(), 0),
				FirstAcquirer: rapid.Bool().Draw(t, "first acquirer"),
				DeliveryCount: rapid.Uint32().Draw(t, "delivery count"),
			},
			DeliveryAnnotations: mapsOf(n, codec.Symbol, inner).Draw(t, "delivery annotations"),
			MessageAnnotations:  mapsOf(n, codec.Symbol, inner).Draw(t, "message annotations"),
			Properties: codec.Properties{
				MessageID:          simple(t, rapid.SampledFrom(ids()).Draw(t, "message id")),
				To:                 text.Draw(t, "to"),
				Subject:            text.Draw(t, "subject"),
				ReplyTo:            text.Draw(t, "reply to"),
				CorrelationID:      simple(t, rapid.SampledFrom(ids()).Draw(t, "correlation id")),
				ContentType:        symbols().Draw(t, "content type"),
				ContentEncoding:    symbols().Draw(t, "content encoding"),
				AbsoluteExpiryTime: optional(t, timestamps(), 0),
				CreationTime:       optional(t, timestamps(), 0),
				GroupID:            text.Draw(t, "group"),
				GroupSequence:      optional(t, rapid.Uint32(), 0),
				ReplyToGroupID:     text.Draw(t, "reply to group"),
			},
			ApplicationProperties: mapsOf(n, codec.String, leaves).Draw(t, "application properties"),
			Footer:                mapsOf(n, codec.Symbol, inner).Draw(t, "footer"),
		}
		if u := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "user id"); len(u) > 0 {
			m.Properties.UserID = u
		}
		switch rapid.IntRange(0, 3).Draw(t, "body") {
		case 0:
			m.Body = codec.Data(rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 3).Draw(t, "data")...)
		case 1:
			var lists []codec.Value
			for range rapid.IntRange(1, 3).Draw(t, "sequences") {
				lists = append(lists, codec.List(rapid.SliceOfN(inner, 0, 3).Draw(t, "sequence")...))
			}
			m.Body = codec.Sequences(lists...)
		case 2:
			m.Body = codec.ValueBody(inner.Draw(t, "value"))
		}
		return m
	})
}

func ids() []codec.Kind {
	return []codec.Kind{codec.KindNull, codec.KindUlong, codec.KindUUID, codec.KindBinary, codec.KindString}
}
