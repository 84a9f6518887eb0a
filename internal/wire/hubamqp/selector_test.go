package hubamqp_test

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestParseSelector(t *testing.T) {
	type S = hubamqp.Start
	ms := time.UnixMilli(1714979289010).UTC()
	for in, want := range map[string]S{
		"amqp.annotation.x-opt-offset > '-1'":                      {},
		"amqp.annotation.x-opt-offset >= '-1'":                     {},
		"amqp.annotation.x-opt-offset > '@latest'":                 {Kind: hubamqp.StartLatest},
		"amqp.annotation.x-opt-offset >= '@latest'":                {Kind: hubamqp.StartLatest},
		"amqp.annotation.x-opt-offset > '42'":                      {Kind: hubamqp.StartOffset, Offset: 42},
		"amqp.annotation.x-opt-offset >= '42'":                     {Kind: hubamqp.StartOffset, Offset: 42, Inclusive: true},
		"amqp.annotation.x-opt-offset >'42'":                       {Kind: hubamqp.StartOffset, Offset: 42},
		"amqp.annotation.x-opt-offset>='0'":                        {Kind: hubamqp.StartOffset, Inclusive: true},
		" amqp.annotation.x-opt-offset  >  '42' ":                  {Kind: hubamqp.StartOffset, Offset: 42},
		"amqp.annotation.x-opt-sequence-number > '7'":              {Kind: hubamqp.StartSequence, Sequence: 7},
		"amqp.annotation.x-opt-sequence-number >= '7'":             {Kind: hubamqp.StartSequence, Sequence: 7, Inclusive: true},
		"amqp.annotation.x-opt-sequence-number > 7":                {Kind: hubamqp.StartSequence, Sequence: 7},
		"amqp.annotation.x-opt-sequence-number > -1":               {},
		"amqp.annotation.x-opt-sequence-number > '-1'":             {},
		"amqp.annotation.x-opt-enqueued-time > '1714979289010'":    {Kind: hubamqp.StartTime, Time: ms},
		"amqp.annotation.x-opt-enqueued-time >= '1714979289010'":   {Kind: hubamqp.StartTime, Time: ms, Inclusive: true},
		"amqp.annotation.x-opt-enqueuedtimeutc > '1714979289010'":  {Kind: hubamqp.StartTime, Time: ms},
		"amqp.annotation.x-opt-enqueuedtimeutc >= '1714979289010'": {Kind: hubamqp.StartTime, Time: ms, Inclusive: true},
		"amqp.annotation.x-opt-enqueued-time > '-62135596800000'":  {Kind: hubamqp.StartTime},
	} {
		got, err := hubamqp.ParseSelector(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", in, got, err, want)
		}
		again, err := hubamqp.ParseSelector(want.Selector())
		if err != nil || again != want {
			t.Errorf("%+v is written as %s, which is %+v, %v", want, want.Selector(), again, err)
		}
	}
}

func TestRefuseSelector(t *testing.T) {
	for in, part := range map[string]string{
		"":                                    "does not begin with amqp.annotation.",
		"x-opt-offset > '1'":                  "does not begin with amqp.annotation.",
		"amqp.annotation.x-opt-offset":        "no > or >=",
		"amqp.annotation.x-opt-offset < '1'":  "no > or >=",
		"amqp.annotation.x-opt-offset = '1'":  "no > or >=",
		"amqp.annotation.x-opt-offset > '1":   "quote",
		"amqp.annotation.x-opt-offset > '":    "quote",
		"amqp.annotation.x-opt-offset > ''":   "not a number",
		"amqp.annotation.x-opt-offset > ":     "not a number",
		"amqp.annotation.x-opt-offset > 'x'":  "not a number",
		"amqp.annotation.x-opt-offset > '+1'": "not a number",
		"amqp.annotation.x-opt-offset > '1' AND amqp.annotation.x-opt-offset > '2'": "not a number",
		"amqp.annotation.x-opt-offset > '-2'":                                       "less than -1",
		"amqp.annotation.x-opt-sequence-number > '@latest'":                         "not a number",
		"amqp.annotation.x-opt-enqueued-time > '2026-01-01'":                        "not a number",
		"amqp.annotation.x-opt-offset > '9223372036854775808'":                      "not a number",
		"amqp.annotation.x-opt-partition-key > 'a'":                                 `about "x-opt-partition-key"`,
		"amqp.annotation.x-opt-offset > '1'" + strings.Repeat(" ", 600):             "too long",
	} {
		_, err := hubamqp.ParseSelector(in)
		wantErr(t, err, causeway.ArgumentInvalid, part)
		wantErr(t, err, causeway.ArgumentInvalid, "x-opt-sequence-number (a number)") // the accepted forms
		if c := hubamqp.ConditionOf(err); c.Name != hubamqp.ArgumentError {
			t.Errorf("%s ends with %s", in, c.Name)
		}
	}
}

func TestStartOf(t *testing.T) {
	name, selector := codec.Symbol(hubamqp.FilterName), codec.String("amqp.annotation.x-opt-offset > '42'")
	want := hubamqp.Start{Kind: hubamqp.StartOffset, Offset: 42}
	for what, filter := range map[string]codec.Map{
		"code":          codec.NewMap(name, codec.Described(codec.Ulong(77567109365764), selector)),
		"name":          codec.NewMap(name, codec.Described(name, selector)),
		"name, text":    codec.NewMap(codec.String(hubamqp.FilterName), codec.Described(codec.String(hubamqp.FilterName), selector)),
		"other key":     codec.NewMap(codec.Symbol("selector"), codec.Described(codec.Ulong(77567109365764), selector)),
		"no descriptor": codec.NewMap(name, selector),
		"built":         want.Filter(),
	} {
		if got, err := hubamqp.StartOf(filter); err != nil || got != want {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	if got, err := hubamqp.StartOf(codec.Map{}); err != nil || got != (hubamqp.Start{}) {
		t.Errorf("no filter: %+v, %v", got, err)
	}
	for what, c := range map[string]struct {
		filter codec.Map
		part   string
	}{
		"other filter":     {codec.NewMap(codec.Symbol("apache.org:no-local-filter:list"), codec.Described(codec.Ulong(0x468C00000003), codec.List())), "is not known"},
		"other descriptor": {codec.NewMap(name, codec.Described(codec.Symbol("x"), selector)), "is not known"},
		"not a string":     {codec.NewMap(name, codec.Described(name, codec.Int(1))), "is of type int instead of string"},
		"twice":            {codec.NewMap(name, codec.Described(name, selector), codec.Symbol("x"), codec.Described(codec.Ulong(77567109365764), selector)), "twice"},
		"bad selector":     {codec.NewMap(name, codec.Described(name, codec.String("x"))), "the accepted forms are"},
	} {
		_, err := hubamqp.StartOf(c.filter)
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
		wantErr(t, err, causeway.ArgumentInvalid, c.part)
	}
	// What is sent to servers that are particular.
	for k, v := range want.Filter().All() {
		d, content, ok := v.Described()
		if s, _ := k.Text(); k.Kind() != codec.KindSymbol || s != "apache.org:selector-filter:string" || !ok ||
			!d.Equal(codec.Ulong(0x468C00000004)) || !content.Equal(selector) {
			t.Errorf("filter %v: %v", k, v)
		}
	}
}

func FuzzParseSelector(f *testing.F) {
	f.Add("amqp.annotation.x-opt-offset > '@latest'")
	f.Add("amqp.annotation.x-opt-sequence-number >= '12'")
	f.Add("amqp.annotation.x-opt-enqueued-time > '1714979289010'")
	f.Fuzz(func(t *testing.T, s string) {
		start, err := hubamqp.ParseSelector(s)
		if err != nil {
			if start != (hubamqp.Start{}) {
				t.Fatalf("%q: %+v with %v", s, start, err)
			}
			return
		}
		if again, err := hubamqp.ParseSelector(start.Selector()); err != nil || again != start {
			t.Fatalf("%q is %+v, written as %q, which is %+v, %v", s, start, start.Selector(), again, err)
		}
	})
}
