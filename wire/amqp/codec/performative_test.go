package codec_test

import (
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// sameFields compares performatives by what they say.
func sameFields() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b codec.Value) bool { return a.Equal(b) }),
		cmp.Comparer(func(a, b codec.Map) bool { return a.Len() == 0 && b.Len() == 0 || a.Value().Equal(b.Value()) }),
		cmp.Comparer(func(a, b codec.Symbols) bool {
			return slices.Equal(slices.Collect(a.All()), slices.Collect(b.All()))
		}),
	}
}

// everyPerformative has every performative, with all fields and with as few as
// there can be, and the wire form of its body. Nulls at the end are written: there
// are peers that count the fields.
func everyPerformative(t testing.TB) map[string]struct {
	p    codec.Performative
	wire string
} {
	props := codec.NewMap(codec.Symbol("k"), codec.String("v"))
	failed := &codec.Condition{Name: "amqp:not-found", Description: "no", Info: codec.NewMap(codec.Symbol("i"), codec.Int(1))}
	tags := codec.NewMap(codec.Binary([]byte{7}), codec.Described(codec.Ulong(0x24), codec.List()))
	filter := codec.NewMap(codec.Symbol("apache.org:selector-filter:string"),
		codec.Described(codec.Ulong(0x468C00000004), codec.String("x > 1")))
	const err = "00531dc01d03a30e616d71703a6e6f742d666f756e64a1026e6fc10602a301695401"
	return map[string]struct {
		p    codec.Performative
		wire string
	}{
		"open, least": {&codec.Open{MaxFrameSize: codec.DefaultMaxFrameSize, ChannelMax: codec.DefaultChannelMax}, "005310c00c0a a100 404040404040404040"},
		"open": {&codec.Open{
			ContainerID: "c", Hostname: "h", MaxFrameSize: 65536, ChannelMax: 8191, IdleTimeout: 240000,
			OutgoingLocales: codec.NewSymbols("en-US"), IncomingLocales: codec.NewSymbols("en-US", "de"),
			OfferedCapabilities: codec.NewSymbols("a"), DesiredCapabilities: codec.NewSymbols("b"), Properties: props,
		}, "005310c0370aa10163a10168700001000060 1fff700003a980a305656e2d5553e00b02a305656e2d5553026465a30161a30162c10702a3016ba10176"},
		"begin, least": {&codec.Begin{HandleMax: codec.DefaultHandleMax}, "005311c00908 40434343 40404040"},
		"begin": {&codec.Begin{
			RemoteChannel: codec.Some(uint16(0)), NextOutgoingID: 1, IncomingWindow: 2048, OutgoingWindow: 4096,
			HandleMax: 255, OfferedCapabilities: codec.NewSymbols("a"), DesiredCapabilities: codec.NewSymbols("b"), Properties: props,
		}, "005311c0210860000052017000000800700000100052ffa30161a30162c10702a3016ba10176"},
		"attach, least": {&codec.Attach{Name: "l", Role: codec.Receiver, SndSettleMode: codec.SendMixed}, "005312c0110e a1016c4341 4040404040404040404040"},
		"attach, sender": {&codec.Attach{
			Name: "l", Handle: 3, SndSettleMode: codec.SendUnsettled, RcvSettleMode: codec.SettleSecond,
			Source: &codec.Source{
				Address: codec.Some("/a"), Durable: codec.DurableUnsettled, ExpiryPolicy: "never", Timeout: 5, Dynamic: true,
				DynamicNodeProperties: props, DistributionMode: "copy", Filter: filter, DefaultOutcome: codec.Released(),
				Outcomes: codec.NewSymbols("amqp:accepted:list", "amqp:rejected:list"), Capabilities: codec.NewSymbols("queue"),
			},
			Target: &codec.Target{
				Address: codec.Some(""), Durable: codec.DurableConfiguration, ExpiryPolicy: "link-detach", Timeout: 1,
				DynamicNodeProperties: props, Capabilities: codec.NewSymbols("q"),
			},
			Unsettled: tags, IncompleteUnsettled: true, InitialDeliveryCount: codec.Some(uint32(0)), MaxMessageSize: 1 << 20,
			OfferedCapabilities: codec.NewSymbols("a"), DesiredCapabilities: codec.NewSymbols("b"), Properties: props,
		}, ""},
		"attach, refusal":     {&codec.Attach{Name: "l", Role: codec.Sender, SndSettleMode: codec.SendMixed, InitialDeliveryCount: codec.Some(uint32(0))}, "005312c0110e a1016c4342404040404040 43 40404040"},
		"attach, coordinator": {&codec.Attach{Name: "l", SndSettleMode: codec.SendMixed, Coordinator: &codec.Coordinator{Capabilities: codec.NewSymbols("amqp:local-transactions")}}, ""},
		"flow, of a session":  {&codec.Flow{NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 1, NextOutgoingID: 2, OutgoingWindow: 3}, "005313c00f0b 43520152025203 40404040404040"},
		"flow": {&codec.Flow{
			IncomingWindow: 1, NextOutgoingID: 2, OutgoingWindow: 3, Handle: codec.Some(uint32(0)), DeliveryCount: codec.Some(uint32(0)),
			LinkCredit: codec.Some(uint32(100)), Available: codec.Some(uint32(0)), Drain: true, Echo: true, Properties: props,
		}, "005313c0180b4052015202520343435264434141c10702a3016ba10176"},
		"transfer, least": {&codec.Transfer{}, "005314c00c0b 43 40404040404040404040"},
		"transfer": {&codec.Transfer{
			Handle: 1, DeliveryID: codec.Some(uint32(0)), DeliveryTag: []byte{1, 2}, MessageFormat: codec.Some(uint32(0)),
			Settled: codec.Some(false), More: true, RcvSettleMode: codec.Some(uint8(1)),
			State: codec.State{Kind: codec.CodeReceived, SectionNumber: 1, SectionOffset: 2}, Resume: true, Aborted: true, Batchable: true,
		}, "005314c01a0b520143a002010243424150010053 23c0050252015302414141"},
		"disposition": {&codec.Disposition{Role: codec.Receiver, First: 1, Last: codec.Some(uint32(9)), Settled: true, State: codec.Accepted(), Batchable: true}, "005315c00c0641520152094100532445 41"},
		"disposition, rejected": {
			&codec.Disposition{Role: codec.Receiver, First: 1, Settled: true, State: codec.Rejected(failed)},
			"005315c02f0641520140 41005325c02301" + err + "40",
		},
		"disposition, modified": {&codec.Disposition{First: 1, State: codec.State{
			Kind: codec.CodeModified, DeliveryFailed: true, UndeliverableHere: true, Annotations: props,
		}}, "005315c018064252014040005327c00c034141c10702a3016ba10176 40"},
		"disposition, extension": {&codec.Disposition{First: 1, State: codec.State{
			Kind: codec.CodeTransactionalState, Extension: codec.Described(codec.Ulong(0x34), codec.List(codec.Binary([]byte{1}))),
		}}, "005315c010064252014040005334c00401a00101 40"},
		"detach":           {&codec.Detach{Handle: 1, Closed: true, Error: failed}, "005316c02603520141" + err},
		"end":              {&codec.End{}, "005317c0020140"},
		"end, error":       {&codec.End{Error: failed}, "005317c02301" + err},
		"close":            {&codec.Close{}, "005318c0020140"},
		"close, error":     {&codec.Close{Error: failed}, "005318c02301" + err},
		"sasl-mechanisms":  {&codec.SASLMechanisms{Mechanisms: codec.NewSymbols("PLAIN", "ANONYMOUS")}, "005340c01501e01202a305504c41494e09414e4f4e594d4f5553"},
		"sasl-init":        {&codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00u\x00p"), Hostname: "h"}, "005341c01103a305504c41494ea00400750070a10168"},
		"sasl-init, empty": {&codec.SASLInit{Mechanism: "ANONYMOUS", InitialResponse: []byte{}}, ""},
		"sasl-challenge":   {&codec.SASLChallenge{Challenge: []byte{1}}, "005342c00401a00101"},
		"sasl-response":    {&codec.SASLResponse{Response: []byte{}}, "005343c00301a000"},
		"sasl-outcome":     {&codec.SASLOutcome{Outcome: codec.SASLOK}, "005344c003015000"},
		"sasl-outcome, no": {&codec.SASLOutcome{Outcome: codec.SASLAuth, AdditionalData: []byte{1}}, "005344c006025001a00101"},
	}
}

func TestPerformatives(t *testing.T) {
	for name, c := range everyPerformative(t) {
		t.Run(name, func(t *testing.T) {
			var payload []byte
			if c.p.Code() == codec.CodeTransfer {
				payload = []byte("payload")
			}
			wire := codec.AppendFrame(nil, 7, c.p, payload)
			if want := strings.ReplaceAll(c.wire, " ", ""); want != "" {
				if got := hex.EncodeToString(wire[8 : len(wire)-len(payload)]); got != want {
					t.Errorf("body %s\n want %s", got, want)
				}
			}
			f, n, err := codec.Split(wire, 4096)
			if err != nil || n != len(wire) {
				t.Fatalf("%d of %d bytes, %v", n, len(wire), err)
			}
			if sasl := strings.HasPrefix(name, "sasl"); sasl != (f.Type == codec.FrameSASL) || !sasl && f.Channel != 7 {
				t.Errorf("frame of type %d on channel %d", f.Type, f.Channel)
			}
			got, rest, err := f.Performative()
			if err != nil || string(rest) != string(payload) {
				t.Fatalf("payload %q, %v", rest, err)
			}
			if d := cmp.Diff(c.p, got, sameFields()); d != "" {
				t.Error(d)
			}
			// Whatever was in it before must be gone.
			used := reflect.New(reflect.TypeOf(c.p).Elem()).Interface().(codec.Performative)
			for _, other := range everyPerformative(t) {
				if reflect.TypeOf(other.p) != reflect.TypeOf(c.p) {
					continue
				}
				of, _, _ := codec.Split(codec.AppendFrame(nil, 0, other.p, nil), 4096)
				if _, err := of.Decode(used); err != nil {
					t.Fatal(err)
				}
				if _, err := f.Decode(used); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(c.p, used, sameFields()); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

// TestShortPerformatives reads performatives without nulls at their end.
func TestShortPerformatives(t *testing.T) {
	for wire, want := range map[string]codec.Performative{
		"005310c00301a100":           &codec.Open{MaxFrameSize: codec.DefaultMaxFrameSize, ChannelMax: codec.DefaultChannelMax},
		"005311c0050440434343":       &codec.Begin{HandleMax: codec.DefaultHandleMax},
		"005312c00603a1016c4341":     &codec.Attach{Name: "l", Role: codec.Receiver, SndSettleMode: codec.SendMixed},
		"005313c0080443520152025203": &codec.Flow{NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 1, NextOutgoingID: 2, OutgoingWindow: 3},
		"005314c0020143":             &codec.Transfer{},
		"005315c003024143":           &codec.Disposition{Role: codec.Receiver},
		"005316c003015201":           &codec.Detach{Handle: 1},
		"00531745":                   &codec.End{},
		"00531845":                   &codec.Close{},
	} {
		body, err := hex.DecodeString(wire)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := codec.Frame{Body: body}.Performative()
		if err != nil {
			t.Errorf("%s: %v", wire, err)
			continue
		}
		if d := cmp.Diff(want, got, sameFields()); d != "" {
			t.Errorf("%s: %s", wire, d)
		}
	}
}

// TestSymbolicDescriptors reads performatives whose descriptors are symbols.
func TestSymbolicDescriptors(t *testing.T) {
	for name, c := range everyPerformative(t) {
		v, _, err := codec.Decode(codec.AppendFrame(nil, 0, c.p, nil)[8:])
		if err != nil {
			t.Fatal(err)
		}
		_, list, _ := v.Described()
		b := codec.Described(codec.Symbol(c.p.Code().String()), list).Append(nil)
		p := reflect.New(reflect.TypeOf(c.p).Elem()).Interface().(codec.Performative)
		if _, err := (codec.Frame{Body: b}).Decode(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.p, p, sameFields()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRefusePerformative(t *testing.T) {
	const dec, inv = codec.DecodeError, codec.InvalidField
	for name, c := range map[string]struct{ wire, condition, want string }{
		"not described":            {"45", dec, "value is not described"},
		"unknown descriptor":       {"00a3017845", dec, `unknown descriptor "x"`},
		"descriptor of a string":   {"00a1017845", dec, `unknown descriptor "x"`},
		"not a performative":       {"00537045", dec, "amqp:header:list does not belong into a frame of type 0"},
		"sasl in an AMQP frame":    {"00534045", dec, "amqp:sasl-mechanisms:list does not belong into a frame of type 0"},
		"not a list":               {"005310a100", dec, "amqp:open:list is a string"},
		"open without a container": {"00531045", dec, "amqp:open:list: container-id is mandatory"},
		"open, container is null":  {"005310c0020140", dec, "amqp:open:list: container-id is mandatory"},
		"field of another type":    {"005310c00802a1016152018000", dec, "amqp:open:list: hostname is a uint instead of a string"},
		"too many fields":          {"005318c003024040", dec, "amqp:close:list has more fields than the standard gives it"},
		"bytes after the fields":   {"005318c003014040", dec, "amqp:close:list has more fields than the standard gives it"},
		"bytes after a close":      {"0053184500", dec, "bytes after a amqp:close:list"},
		"settle mode 3":            {"005312c00804a1016c43425003", inv, "amqp:attach:list: snd-settle-mode is 3, more than 2"},
		"receiver settle mode 2":   {"005312c00905a1016c4342405002", inv, "amqp:attach:list: rcv-settle-mode is 2, more than 1"},
		"delivery tag of 33 bytes": {"005314c0260343 43a021" + strings.Repeat("00", 33), inv, "amqp:transfer:list: delivery-tag has 33 bytes, more than 32"},
		"error of another type":    {"005318c0050100532445", dec, "amqp:close:list: error is a amqp:accepted:list"},
		"error without condition":  {"005318c0050100531d45", dec, "amqp:error:list: condition is mandatory"},
		"state is no state":        {"005315c0050542434040", dec, "list of 5 elements has 4 bytes"},
		"state is a uint":          {"005315c006054243404043", dec, "state of a delivery is a uint"},
		"symbols are uints":        {"005310c00806a1004040404043", dec, "amqp:open:list: outgoing-locales is neither a symbol nor an array of them"},
		"properties by uint":       {"005310c0100aa1004040404040404040c103024340", dec, "properties has a uint as a key"},
	} {
		f := codec.Frame{Body: unhex(t, c.wire)}
		p, _, err := f.Performative()
		var e *codec.Error
		if !errors.As(err, &e) || e.Condition != c.condition || e.Msg != c.want {
			t.Errorf("%s: %v, error %v", name, p, err)
		}
	}
}

func TestLiberties(t *testing.T) {
	// sasl-init with a string as mechanism, and a string as its response
	var p codec.SASLInit
	if _, err := (codec.Frame{Body: unhex(t, "005341c00b02a105504c41494ea10178")}).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Mechanism != "PLAIN" || string(p.InitialResponse) != "x" {
		t.Errorf("%+v", p)
	}
}
