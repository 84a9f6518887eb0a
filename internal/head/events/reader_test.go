package events_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// in is a receiver of the client of this project, and what it got.
type in struct {
	amqp.Inbox
	r *amqp.Receiver
	t testing.TB
}

// how says how a reader is attached. Its zero value reads partition 0 of the
// default group from the start, with much credit.
type how struct {
	group, partition string
	filter           codec.Map
	epoch            int64 // from 1 on; 0 for none
	runtime          bool
	credit           uint32
	none             bool // no credit at all
	unsettled        bool
	settle           codec.ReceiverSettleMode
	most             uint64
}

func tryRead(ctx context.Context, s *amqp.Session, h how) (*amqp.Receiver, *in, error) {
	if h.group == "" {
		h.group = "$Default"
	}
	if h.partition == "" {
		h.partition = "0"
	}
	if h.credit == 0 && !h.none {
		h.credit = 1000
	}
	box := &in{}
	cfg := amqp.LinkConfig{
		Source: hub + "/ConsumerGroups/" + h.group + "/Partitions/" + h.partition, Filter: h.filter,
		SndSettleMode: codec.SendSettled, RcvSettleMode: h.settle,
	}
	if h.unsettled {
		cfg.SndSettleMode = codec.SendUnsettled
	}
	o := amqp.ReceiverOptions{Handler: box, Credit: h.credit, MaxMessageSize: h.most}
	if h.epoch != 0 {
		o.Properties = codec.NewMap(codec.Symbol("com.microsoft:epoch"), codec.Long(h.epoch))
	}
	if h.runtime {
		o.DesiredCapabilities = []string{hubamqp.CapabilityRuntimeMetric}
	}
	r, err := s.AttachReceiver(ctx, cfg, o)
	return r, box, err
}

// read attaches a reader.
func (w *world) read(s *amqp.Session, h how) *in {
	w.t.Helper()
	r, box, err := tryRead(w.t.Context(), s, h)
	if err != nil {
		w.t.Fatal(err)
	}
	box.r, box.t = r, w.t
	return box
}

// next returns the next event.
func (b *in) next() hubamqp.Event {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	d, err := b.Receive(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	var e hubamqp.Event
	var s hubamqp.Scratch
	if err := hubamqp.DecodeEvent(&e, &s, d.Payload); err != nil {
		b.t.Fatal(err)
	}
	return e
}

// want checks that the next events are those from one offset up to before
// another.
func (b *in) want(from, to int) {
	b.t.Helper()
	for i := from; i < to; i++ {
		if e := b.next(); e.Sequence != int64(i) || e.Offset != fmt.Sprint(i) {
			b.t.Fatalf("got event %d at offset %s, want %d", e.Sequence, e.Offset, i)
		}
	}
}

// nothing checks that nothing has arrived.
func (b *in) nothing() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	cancel()
	if d, err := b.Receive(ctx); err == nil {
		b.t.Fatalf("an event arrived: %x", d.Payload)
	}
}

// ended waits for the end of the link and returns the condition.
func (b *in) ended() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	for {
		if _, err := b.Receive(ctx); err != nil {
			return claimstest.Condition(err)
		}
	}
}

// selector returns the filter of a source with a selector.
func selector(text string) codec.Map {
	return codec.NewMap(codec.Symbol(hubamqp.FilterName), codec.Described(codec.Ulong(0x468C00000004), codec.String(text)))
}

var base = time.Date(2024, 5, 6, 7, 8, 9, 123_456_000, time.UTC)

// timed appends n events, one each second from base on.
func (w *world) timed(n int) {
	w.t.Helper()
	m := event(10)
	for i := range n {
		r := eventlog.Record{Time: base.Add(time.Duration(i) * time.Second), Payload: envelope.Append(nil, &m)}
		if _, err := w.log.Append(w.t.Context(), 0, r); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestStart(t *testing.T) {
	w := open(t, nil)
	w.timed(10)
	ms := func(d time.Duration) string { return fmt.Sprint(base.Add(d).UnixMilli()) }
	for _, row := range []struct {
		selector string
		want     int // offset of the first event
	}{
		{"amqp.annotation.x-opt-offset > '-1'", 0},
		{"amqp.annotation.x-opt-offset >= '-1'", 0},
		{"amqp.annotation.x-opt-offset > '@latest'", 10},
		{"amqp.annotation.x-opt-offset >= '@latest'", 10},
		{"amqp.annotation.x-opt-offset > '0'", 1},
		{"amqp.annotation.x-opt-offset > '4'", 5},
		{"amqp.annotation.x-opt-offset >= '4'", 4},
		{"amqp.annotation.x-opt-offset > '9'", 10},
		{"amqp.annotation.x-opt-offset >= '10'", 10},
		{"amqp.annotation.x-opt-sequence-number > '4'", 5},
		{"amqp.annotation.x-opt-sequence-number >= '4'", 4},
		{"amqp.annotation.x-opt-sequence-number > 4", 5},
		{"amqp.annotation.x-opt-sequence-number > '-1'", 0},
		{"amqp.annotation.x-opt-enqueued-time > '0'", 0},
		// Events have 456 µs more than the time that readers are shown.
		{"amqp.annotation.x-opt-enqueued-time > '" + ms(3*time.Second) + "'", 4},
		{"amqp.annotation.x-opt-enqueued-time >= '" + ms(3*time.Second) + "'", 3},
		{"amqp.annotation.x-opt-enqueued-time > '" + ms(3*time.Second-time.Millisecond) + "'", 3},
		{"amqp.annotation.x-opt-enqueuedtimeutc > '" + ms(3*time.Second) + "'", 4},
		{"amqp.annotation.x-opt-enqueued-time > '" + ms(time.Hour) + "'", 10},
	} {
		t.Run(row.selector, func(t *testing.T) {
			box := w.read(w.client(), how{filter: selector(row.selector)})
			_, next, err := w.log.Bounds(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if row.want >= 10 { // only what comes from now on
				w.timed(1)
				row.want = int(next)
			}
			box.want(row.want, row.want+1)
			box.r.Close(nil)
		})
		if t.Failed() {
			return
		}
		w.reset(10)
	}
	t.Run("no filter", func(t *testing.T) { w.read(w.client(), how{}).want(0, 10) })
}

// reset makes the log have n events again.
func (w *world) reset(n int) {
	w.t.Helper()
	if _, next, err := w.log.Bounds(w.t.Context(), 0); err != nil || next == eventlog.Offset(n) {
		if err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.reopen()
	w.timed(n)
}

// TestStartForms takes the forms in which clients write the filter.
func TestStartForms(t *testing.T) {
	w := open(t, nil)
	w.timed(5)
	text := codec.String("amqp.annotation.x-opt-offset > '2'")
	for name, filter := range map[string]codec.Map{
		"described by number":   codec.NewMap(codec.Symbol(hubamqp.FilterName), codec.Described(codec.Ulong(77567109365764), text)),
		"described by name":     codec.NewMap(codec.Symbol(hubamqp.FilterName), codec.Described(codec.Symbol(hubamqp.FilterName), text)),
		"not described":         codec.NewMap(codec.Symbol(hubamqp.FilterName), text),
		"under a name of their": codec.NewMap(codec.Symbol("selector"), codec.Described(codec.Ulong(77567109365764), text)),
	} {
		t.Run(name, func(t *testing.T) {
			box := w.read(w.client(), how{filter: filter})
			box.want(3, 5)
			box.r.Close(nil)
		})
	}
	t.Run("go-amqp", func(t *testing.T) {
		r, err := w.azure().NewReceiver(t.Context(), address("0"), &goamqp.ReceiverOptions{
			Filters: []goamqp.LinkFilter{goamqp.NewSelectorFilter("amqp.annotation.x-opt-offset > '2'")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.LinkSourceFilterValue(hubamqp.FilterName); got != "amqp.annotation.x-opt-offset > '2'" {
			t.Errorf("the filter came back as %v", got)
		}
		m, err := r.Receive(t.Context(), nil)
		if err != nil || m.Annotations["x-opt-sequence-number"] != int64(3) {
			t.Fatalf("%v %v", m, err)
		}
	})
}

// TestTrimmed reads from where nothing is held any more.
func TestTrimmed(t *testing.T) {
	w := open(t, func(w *world) { w.segment = 16 << 10 })
	w.fill(0, 1000, event(256))
	if err := w.log.Trim(t.Context(), 0, 900); err != nil {
		t.Fatal(err)
	}
	oldest, _, err := w.log.Bounds(t.Context(), 0)
	if err != nil || oldest < 500 {
		t.Fatalf("the oldest is %d, %v", oldest, err)
	}
	for _, text := range []string{"amqp.annotation.x-opt-offset > '-1'", "amqp.annotation.x-opt-offset > '17'", "amqp.annotation.x-opt-sequence-number >= '17'", "amqp.annotation.x-opt-enqueued-time > '0'"} {
		box := w.read(w.client(), how{filter: selector(text)})
		box.want(int(oldest), 1000)
		box.r.Close(nil)
	}
	// A reader that is too slow goes on with the oldest as well.
	box := w.read(w.client(), how{credit: 10})
	box.want(int(oldest), int(oldest)+5)
	w.fill(0, 1000, event(256))
	if err := w.log.Trim(t.Context(), 0, 1900); err != nil {
		t.Fatal(err)
	}
	last := int64(oldest) + 4
	for last < 1999 {
		e := box.next()
		if e.Sequence <= last {
			t.Fatalf("event %d after %d", e.Sequence, last)
		}
		last = e.Sequence
	}
}

// TestContent looks at what an event is made of, as go-amqp sees it.
func TestContent(t *testing.T) {
	w := open(t, nil)
	m := event(0)
	m.Body = []byte(`{"a":1}`)
	m.CorrelationID, m.UserID, m.To = "c-1", "u", "/devices/dev-1/messages/events"
	m.From.Module, m.ModelID, m.Component, m.Operation = "mod-1", "dtmi:a:b;1", "thermostat1", "op"
	m.Enqueued = base
	rec := eventlog.Record{Time: base.Add(time.Second), Payload: envelope.Append(nil, &m)}
	if _, err := w.log.Append(t.Context(), 1, rec); err != nil {
		t.Fatal(err)
	}
	r, err := w.azure().NewReceiver(t.Context(), address("1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Receive(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Data) != 1 || string(got.GetData()) != `{"a":1}` {
		t.Errorf("data is %q", got.Data)
	}
	for key, want := range map[string]any{
		"x-opt-sequence-number": int64(0), "x-opt-offset": "0", "x-opt-partition-key": "dev-1",
		"x-opt-enqueued-time":         base.Add(time.Second).Truncate(time.Millisecond),
		"iothub-enqueuedtime":         base.Truncate(time.Millisecond),
		"iothub-connection-device-id": "dev-1", "iothub-connection-module-id": "mod-1",
		"iothub-connection-auth-method":        m.Auth,
		"iothub-connection-auth-generation-id": m.GenerationID,
		"iothub-message-source":                "Telemetry", "dt-dataschema": "dtmi:a:b;1", "dt-subject": "thermostat1",
	} {
		v := got.Annotations[key]
		if at, ok := v.(time.Time); ok {
			v = at.UTC()
		}
		if v != want {
			t.Errorf("annotation %s is %T %v, want %T %v", key, v, v, want, want)
		}
	}
	p := got.Properties
	if p.MessageID != "m-1" || p.CorrelationID != "c-1" || string(p.UserID) != "u" || *p.To != m.To || *p.ContentType != "application/json" || *p.ContentEncoding != "utf-8" {
		t.Errorf("properties are %+v", p)
	}
	if got.ApplicationProperties["level"] != "critical" || got.ApplicationProperties["iothub-operation"] != "op" {
		t.Errorf("application properties are %v", got.ApplicationProperties)
	}
	if len(got.DeliveryAnnotations) != 0 {
		t.Errorf("delivery annotations that nobody asked for: %v", got.DeliveryAnnotations)
	}
}

// TestRuntime has every event tell what the last one is.
func TestRuntime(t *testing.T) {
	w := open(t, func(w *world) { w.plane.Limits.Batch = 2 })
	w.timed(5)
	box := w.read(w.client(), how{runtime: true})
	for i := range 5 {
		e := box.next()
		want := hubamqp.Position{Sequence: 4, Offset: 4, Enqueued: base.Add(4 * time.Second).Truncate(time.Millisecond)}
		if e.Runtime.Last != want || time.Since(e.Runtime.Retrieved) > time.Minute {
			t.Errorf("event %d: %+v, want %+v", i, e.Runtime, want)
		}
	}
	w.fill(0, 1, event(1))
	if e := box.next(); e.Runtime.Last.Sequence != 5 || e.LastOffset != "5" {
		t.Errorf("%+v", e.Runtime)
	}
	r, err := w.azure().NewReceiver(t.Context(), address("0"), &goamqp.ReceiverOptions{DesiredCapabilities: []string{hubamqp.CapabilityRuntimeMetric}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Receive(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := m.DeliveryAnnotations
	if d["last_enqueued_sequence_number"] != int64(5) || d["last_enqueued_offset"] != "5" {
		t.Errorf("delivery annotations are %v", d)
	}
	for _, key := range []string{"last_enqueued_time_utc", "runtime_info_retrieval_time_utc"} {
		if _, ok := d[key].(time.Time); !ok {
			t.Errorf("%s is %T", key, d[key])
		}
	}
}

// TestWaits has a reader at the end of its partition get events as they come.
func TestWaits(t *testing.T) {
	w := open(t, nil)
	box := w.read(w.client(), how{})
	for i := range 200 {
		w.fill(0, 1, event(i))
		box.want(i, i+1)
	}
	box.nothing()
}

// TestResume reads, goes away and comes back while events are written, and looks
// for every one exactly once.
func TestResume(t *testing.T) {
	w := open(t, nil)
	const total = 20_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range total / 50 {
			w.fill(0, 50, event(100))
		}
	}()
	next, back := 0, 0
	for next < total {
		h := how{credit: uint32(1 + back*37%500)}
		if next > 0 {
			h.filter = selector(fmt.Sprintf("amqp.annotation.x-opt-offset > '%d'", next-1))
		}
		box := w.read(w.client(), h)
		upto := min(next+100+back*531%2000, total)
		box.want(next, upto)
		if next = upto; back%3 == 0 {
			box.r.Conn().Abort(nil) // gone without a word
		} else {
			box.r.Close(nil)
		}
		back++
	}
	<-done
	t.Logf("came back %d times", back)
}

// TestSettle takes the ways in which events may be settled.
func TestSettle(t *testing.T) {
	w := open(t, nil)
	w.fill(0, 100, event(10))
	for _, row := range []struct {
		name string
		h    how
	}{
		{"settled", how{}},
		{"unsettled, first", how{unsettled: true}},
		{"unsettled, second", how{unsettled: true, settle: codec.SettleSecond}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.h.credit = 10
			box := w.read(w.client(), row.h)
			for i := range 100 {
				d, err := box.Receive(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if d.Settled == row.h.unsettled {
					t.Fatalf("event %d is settled: %v", i, d.Settled)
				}
				switch {
				case !row.h.unsettled:
				case i%3 == 0:
					box.r.Settle(d.ID, codec.Accepted())
				case i%3 == 1:
					box.r.Settle(d.ID, codec.Released())
				default:
					box.r.Settle(d.ID, codec.Rejected(nil))
				}
				box.r.Conn().Push()
			}
			box.r.Close(nil)
		})
	}
	t.Run("never", func(t *testing.T) {
		// Events are sent whether those before are settled or not.
		r, err := w.azure().NewReceiver(t.Context(), address("0"), &goamqp.ReceiverOptions{Credit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if _, err := r.Receive(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestLeftOut skips what cannot be read.
func TestLeftOut(t *testing.T) {
	w := open(t, nil)
	w.fill(0, 1, event(1))
	if _, err := w.log.Append(t.Context(), 0, eventlog.Record{Payload: []byte("no envelope")}); err != nil {
		t.Fatal(err)
	}
	w.fill(0, 1, event(1))
	box := w.read(w.client(), how{})
	box.want(0, 1)
	box.want(2, 3)
	box.nothing()
}

// TestLogCloses has readers hear that there is nothing to read any more.
func TestLogCloses(t *testing.T) {
	w := open(t, nil)
	box := w.read(w.client(), how{})
	w.closeLog()
	if got := box.ended(); got != amqp.DetachForced {
		t.Errorf("ended with %s", got)
	}
}

// TestExpires ends readers whose right to read has ended.
func TestExpires(t *testing.T) {
	w := open(t, nil)
	box := w.read(w.client(), how{})
	w.head.Expire()
	if got := box.ended(); got != amqp.UnauthorizedAccess {
		t.Errorf("ended with %s", got)
	}
	w.head.Deny()
	if _, _, err := tryRead(t.Context(), w.client(), how{}); claimstest.Condition(err) != amqp.UnauthorizedAccess {
		t.Errorf("refused with %v", err)
	}
}

// TestNames takes the names of the event hub and of consumer groups, and what
// must be authorized for them.
func TestNames(t *testing.T) {
	w := open(t, nil)
	w.fill(1, 1, event(1))
	for source, path := range map[string]string{
		"myhub/ConsumerGroups/$Default/Partitions/1":                          "/myhub/ConsumerGroups/$Default/Partitions/1",
		"/MyHub/consumergroups/$default/partitions/1":                         "/MyHub/ConsumerGroups/$default/Partitions/1",
		"iothub-ehub-myhub-123-abc/ConsumerGroups/analytics/Partitions/1":     "/iothub-ehub-myhub-123-abc/ConsumerGroups/analytics/Partitions/1",
		"amqps://ns.example.com/myhub/ConsumerGroups/%24Default/Partitions/1": "/myhub/ConsumerGroups/$Default/Partitions/1",
	} {
		t.Run(source, func(t *testing.T) {
			r, err := w.azure().NewReceiver(t.Context(), source, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Receive(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if paths := w.head.Authorized(); !slices.Contains(paths, path) {
				t.Errorf("authorized were %v", paths)
			}
		})
	}
}

// TestLargeEvents sends events of more than a frame.
func TestLargeEvents(t *testing.T) {
	w := open(t, nil)
	sizes := []int{1, causeway.MaxMessageSize - 8<<10, 70_000, 10, 200_000}
	for _, n := range sizes {
		w.fill(0, 1, event(n))
	}
	box := w.read(w.client(), how{})
	for _, n := range sizes {
		if e := box.next(); len(e.Message.Body) != n {
			t.Fatalf("a body of %d bytes, want %d", len(e.Message.Body), n)
		}
	}
	// A reader that does not take so much is told, maybe before it looks at its link.
	_, small, err := tryRead(t.Context(), w.client(), how{most: 1000})
	got := claimstest.Condition(err)
	if err == nil {
		small.t = t
		got = small.ended()
	}
	if got != amqp.MessageSizeExceeded {
		t.Errorf("ended with %s", got)
	}
}
