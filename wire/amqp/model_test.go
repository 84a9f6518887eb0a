package amqp_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestModel lets a peer that keeps to the standard, and users of the engine, do
// things in any order. A model of both ends checks every frame that the engine
// writes: that it may be written in this state, that credit and windows are kept
// to, that what is asked is answered once, and that messages arrive whole, once
// and in order.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The deadline of a test may not be asked for in a bubble.
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) {
			w := newWorld(t)
			defer func() {
				w.nc.Close()
				<-w.conn.Done()
			}()
			actions := []func(){
				w.begin, w.end, w.attach, w.attach, w.attach, w.detach, w.message, w.message, w.message, w.partly, w.partly, w.partly,
				w.credit, w.credit, w.windows, w.disposition, w.disposition, w.send, w.send, w.send, w.settleSome, w.settleSome,
				w.grant, w.grant, w.drain, w.closeLink, w.endSession, w.push, w.push,
			}
			w.begin()
			for range 4 {
				w.hear()
				w.attach()
			}
			for range w.draw("steps", 150) {
				w.hear()
				actions[w.draw("action", len(actions)-1)]()
			}
			w.stop()
		})
	})
}

// The peer's limits: small, so that all of them are met.
const (
	modelFrame    = 512
	modelChannels = 3
	modelWindow   = 6 // ours
	modelUnsettle = 4
)

// world is both ends, as far as the peer can tell.
type world struct {
	t    *rapid.T
	nc   *memnet.Conn
	conn *amqp.Conn
	in   []byte // of the engine, not looked at yet

	sessions map[uint16]*modelSession // by the peer's channel
	theirs   map[uint16]*modelSession // by the engine's
	links    []*modelLink             // attached ones
	waiting  map[string]*modelLink    // wishes
	drawn    int
	faults   []string
}

type modelSession struct {
	w                   *world
	channel, theirs     uint16
	s                   *amqp.Session
	answered            bool // the engine's begin came
	ended, endedByThem  bool
	handles             map[uint32]*modelLink // the peer's
	engine              map[uint32]*modelLink // the engine's
	out, window         uint32                // transfers of the peer: next id, how many it may send
	in, granted         uint32                // transfers of the engine: next id, id it must not reach
	delivery, deliverIn uint32                // ids of the next deliveries of the peer, of the engine
	open                map[uint32]*modelLink // deliveries of the engine that are not settled
}

type modelLink struct {
	s               *modelSession
	name            string
	handle, theirs  uint32
	role            codec.Role // of the peer
	attached        bool       // the engine has answered
	closed, gone    bool       // the engine's detach came; the peer's is out
	count, limit    uint32     // delivery-count, and up to which it may go
	more            bool
	whole           string            // so far
	want            []string          // messages that must be handed over
	settled         map[uint32]string // what the engine has to say of deliveries; "" is nothing yet
	snd             *amqp.Sender
	rcv             *amqp.Receiver
	arrived         []amqp.Delivery
	partSettled     bool
	id              uint32
	told, drainSeen bool
}

func newWorld(t *rapid.T) *world {
	here, there := memnet.Pipe("client", "server", 1<<20)
	w := &world{
		t: t, nc: here, sessions: map[uint16]*modelSession{}, theirs: map[uint16]*modelSession{}, waiting: map[string]*modelLink{},
	}
	w.conn = amqp.Serve(there, amqp.Prepare(amqp.Config{IncomingWindow: modelWindow, ChannelMax: modelChannels - 1, IdleTimeout: 1 << 50}), &modelHandler{w: w})
	o := opening()
	o.MaxFrameSize = modelFrame
	_, _ = here.Write(append(codec.ProtocolAMQP.Append(nil), codec.AppendFrame(nil, 0, o, nil)...))
	synctest.Wait()
	var b [4096]byte
	n, _ := here.ReadNow(b[:])
	if f, _, err := codec.Split(b[codec.HeaderSize:n], 4096); err != nil || f.Body[2] != byte(codec.CodeOpen) {
		t.Fatalf("no open in %x", b[:n])
	}
	return w
}

// stop closes the connection and checks that every link was said good-bye to.
func (w *world) stop() {
	w.hear()
	w.say(0, &codec.Close{}, "")
	<-w.conn.Done()
	if w.conn.Err() != nil {
		w.t.Fatalf("the connection ended with %v", w.conn.Err())
	}
	for _, l := range w.links {
		if !l.told {
			w.t.Fatalf("link %s was not told of the end", l.name)
		}
	}
}

func (w *world) say(channel uint16, p codec.Performative, payload string) {
	_, _ = w.nc.Write(codec.AppendFrame(nil, channel, p, []byte(payload)))
	synctest.Wait()
}

// modelHandler is the engine's user.
type modelHandler struct {
	amqp.Client
	w *world
}

func (h *modelHandler) Attach(a *amqp.Attach) error {
	l := h.w.waiting[a.Name]
	l.s.s = a.Session()
	if a.Role == codec.Receiver {
		l.snd = a.Send(amqp.SenderOptions{Handler: modelSender{l}, Unsettled: modelUnsettle})
		return nil
	}
	o := amqp.ReceiverOptions{Handler: modelReceiver{l}, MaxMessageSize: 5000}
	if l.name[0] == 'w' {
		o.Credit = 3
	}
	l.rcv = a.Receive(o)
	return nil
}

type modelReceiver struct{ l *modelLink }

func (m modelReceiver) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	l := m.l
	got := fmt.Sprint(d.ID, " ", d.Settled, " ", string(d.Payload))
	if len(l.want) == 0 || got != l.want[0] {
		l.s.w.fault("%s: message %q, want %q", l.name, got, l.want)
		return
	}
	l.want = l.want[1:]
	if !d.Settled {
		d.Payload, d.Tag = nil, nil
		l.arrived = append(l.arrived, d)
		l.settled[d.ID] = ""
	}
}

func (m modelReceiver) Detached(*amqp.Receiver, error) { m.l.over() }

type modelSender struct{ l *modelLink }

func (m modelSender) Flow(s *amqp.Sender) {
	if s.Draining() {
		s.Drained()
	}
}

func (m modelSender) Disposition(s *amqp.Sender, d amqp.Sent, state *codec.State, settled bool) {
	if m.l.s.open[d.ID] != m.l || d.Token != m.l {
		m.l.s.w.fault("%s: news of delivery %d, token %v", m.l.name, d.ID, d.Token)
	}
	if settled {
		delete(m.l.s.open, d.ID)
	} else if state.Terminal() {
		s.Settle(d.ID, *state)
	}
}

func (m modelSender) Detached(*amqp.Sender, error) { m.l.over() }

// over notes that the engine has told its user of the end.
func (l *modelLink) over() {
	if l.told {
		l.s.w.fault("%s: told twice of the end", l.name)
	}
	l.told = true
}

// fault notes what was wrong in a goroutine of the engine's.
func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// hear checks all that the engine has written.
func (w *world) hear() {
	synctest.Wait()
	var b [1 << 16]byte
	for {
		n, err := w.nc.ReadNow(b[:])
		if err != nil {
			w.t.Fatalf("read: %v", err)
		}
		if n == 0 {
			break
		}
		w.in = append(w.in, b[:n]...)
	}
	if len(w.faults) > 0 {
		w.t.Fatal(w.faults)
	}
	for len(w.in) > 0 {
		f, n, err := codec.Split(w.in, modelFrame)
		if err != nil || n == 0 {
			w.t.Fatalf("%x: %v", w.in, err)
		}
		w.in = w.in[n:]
		p, payload, err := f.Performative()
		if err != nil {
			w.t.Fatal(err)
		}
		w.frame(f.Channel, p, payload)
	}
	// What was asked is answered.
	for _, s := range w.sessions {
		if !s.answered {
			w.t.Fatalf("begin on channel %d was not answered", s.channel)
		}
	}
	if len(w.waiting) > 0 {
		w.t.Fatalf("not answered: %v", slices.Collect(maps.Keys(w.waiting)))
	}
	for _, l := range w.links {
		if len(l.want) > 0 && !l.closed && !l.s.endedByThem {
			w.t.Fatalf("%s: %q was not handed over", l.name, l.want)
		}
	}
}

func (w *world) frame(channel uint16, p codec.Performative, payload []byte) {
	t := w.t
	if b, ok := p.(*codec.Begin); ok {
		s := w.sessions[b.RemoteChannel.V]
		if s == nil || !b.RemoteChannel.OK || s.answered || w.theirs[channel] != nil {
			t.Fatalf("begin %+v on channel %d", b, channel)
		}
		s.answered, s.theirs, s.window, s.in = true, channel, b.IncomingWindow, b.NextOutgoingID
		s.granted += s.in
		w.theirs[channel] = s
		return
	}
	s := w.theirs[channel]
	if s == nil || s.endedByThem {
		t.Fatalf("%s on channel %d, which has not begun", describe(frame{p: p}), channel)
	}
	switch m := p.(type) {
	case *codec.End:
		s.endedByThem = true
		if s.ended {
			w.forget(s)
		}
	case *codec.Attach:
		l := w.waiting[m.Name]
		if l == nil || m.Role != !l.role || s.engine[m.Handle] != nil || l.s != s {
			t.Fatalf("attach %+v", m)
		}
		delete(w.waiting, m.Name)
		l.attached, l.theirs = true, m.Handle
		s.engine[m.Handle] = l
		w.links = append(w.links, l)
	case *codec.Detach:
		l := s.link(m.Handle)
		if m.Error != nil && m.Error.Name != amqp.LinkStolen {
			t.Fatalf("%s: detached with %v", l.name, m.Error)
		}
		l.closed = true
		delete(s.engine, m.Handle)
		maps.DeleteFunc(s.open, func(_ uint32, x *modelLink) bool { return x == l }) // never will be settled
	case *codec.Flow:
		s.flow(m)
	case *codec.Transfer:
		s.transfer(m, payload)
	case *codec.Disposition:
		s.settlement(m)
	default:
		t.Fatalf("a %T", p)
	}
}

// link returns the link with a handle of the engine's, on which it may speak.
func (s *modelSession) link(handle uint32) *modelLink {
	l := s.engine[handle]
	if l == nil {
		s.w.t.Fatalf("handle %d is not attached", handle)
	}
	return l
}

func (s *modelSession) flow(m *codec.Flow) {
	if m.NextIncomingID.V > s.out || m.NextIncomingID.V+m.IncomingWindow < s.out+s.window || m.NextOutgoingID != s.in {
		s.w.t.Fatalf("flow %+v with %d sent, %d left and %d received", m, s.out, s.window, s.in)
	}
	s.window = m.NextIncomingID.V + m.IncomingWindow - s.out
	if !m.Handle.OK {
		return
	}
	l := s.link(m.Handle.V)
	if l.role == codec.Sender {
		l.limit = m.DeliveryCount.V + m.LinkCredit.V
		if m.Drain && !l.gone {
			l.drainSeen = true
		}
		return
	}
	if m.DeliveryCount.V+m.LinkCredit.V != l.limit {
		s.w.t.Fatalf("%s: %+v, the credit ends at %d", l.name, m, l.limit)
	}
	if m.Drain && m.LinkCredit.V == 0 {
		l.count = m.DeliveryCount.V
	}
	if m.DeliveryCount.V != l.count {
		s.w.t.Fatalf("%s: %+v, the count is %d", l.name, m, l.count)
	}
}

func (s *modelSession) transfer(m *codec.Transfer, payload []byte) {
	l := s.link(m.Handle)
	if s.in == s.granted || l.role != codec.Receiver {
		s.w.t.Fatalf("%s: a transfer beyond the window at %d", l.name, s.granted)
	}
	s.in++
	if !l.more {
		if !m.DeliveryID.OK || m.DeliveryID.V != s.deliverIn || l.count == l.limit || len(m.DeliveryTag) == 0 {
			s.w.t.Fatalf("%s: %+v, the next delivery is %d, the credit ends at %d of %d", l.name, m, s.deliverIn, l.limit, l.count)
		}
		s.deliverIn++
		l.count++
		if !m.Settled.V {
			s.open[m.DeliveryID.V] = l
		}
	}
	l.whole += string(payload)
	if l.more = m.More; !l.more {
		if len(l.want) == 0 || l.whole != l.want[0] {
			s.w.t.Fatalf("%s: %d bytes sent, want %d", l.name, len(l.whole), len(l.want))
		}
		l.whole, l.want = "", l.want[1:]
	}
}

func (s *modelSession) settlement(m *codec.Disposition) {
	for id := m.First; id <= m.Last.Or(m.First); id++ {
		if m.Role == codec.Sender {
			if s.open[id] == nil || !m.Settled {
				s.w.t.Fatalf("%+v of a delivery that is not open", m)
			}
			delete(s.open, id)
			continue
		}
		known := false
		for _, l := range s.w.links {
			if what := l.settled[id]; l.s == s && l.role == codec.Sender && what != "" {
				if what != m.State.Kind.String() || !m.Settled {
					s.w.t.Fatalf("%s: delivery %d is %v, want %s", l.name, id, m.State.Kind, what)
				}
				delete(l.settled, id)
				known = true
			}
		}
		if !known {
			s.w.t.Fatalf("%+v of a delivery that was not settled", m)
		}
	}
}

// forget drops a session that both sides have ended.
func (w *world) forget(s *modelSession) {
	delete(w.sessions, s.channel)
	delete(w.theirs, s.theirs)
	w.links = slices.DeleteFunc(w.links, func(l *modelLink) bool {
		if l.s == s && !l.told {
			w.t.Fatalf("link %s was not told of the end of its session", l.name)
		}
		return l.s == s
	})
}

// pick draws one of things; nil when there is none.
func pick[T any](w *world, things []*T) *T {
	if len(things) == 0 {
		return nil
	}
	return things[w.draw("which", len(things)-1)]
}

func (w *world) draw(name string, most int) int {
	w.drawn++
	// Made of bits, because the ranges of rapid prefer small numbers.
	bits := rapid.Custom(func(t *rapid.T) int {
		n := 0
		for range 11 {
			n <<= 1
			if rapid.Bool().Draw(t, "bit") {
				n++
			}
		}
		return n % (most + 1)
	})
	return bits.Draw(w.t, fmt.Sprint(name, w.drawn))
}

func (w *world) flip(name string) bool { return w.draw(name, 1) == 1 }

// living returns the sessions that neither side has ended.
func (w *world) living() (all []*modelSession) {
	for c := range uint16(modelChannels) {
		if s := w.sessions[c]; s != nil && !s.ended && !s.endedByThem {
			all = append(all, s)
		}
	}
	return all
}

// linked returns the links that neither side has detached.
func (w *world) linked(role codec.Role) (all []*modelLink) {
	for _, l := range w.links {
		if l.role == role && !l.gone && !l.closed && !l.s.ended && !l.s.endedByThem {
			all = append(all, l)
		}
	}
	return all
}

func (w *world) begin() {
	channel := uint16(w.draw("channel", modelChannels-1))
	if w.sessions[channel] != nil {
		return
	}
	s := &modelSession{
		w: w, channel: channel, handles: map[uint32]*modelLink{}, engine: map[uint32]*modelLink{},
		granted: uint32(w.draw("window", 5)), open: map[uint32]*modelLink{},
	}
	w.sessions[channel] = s
	w.say(channel, &codec.Begin{IncomingWindow: s.granted, OutgoingWindow: 10, HandleMax: 100}, "")
}

func (w *world) end() {
	var all []*modelSession // the engine may have ended it
	for c := range uint16(modelChannels) {
		if s := w.sessions[c]; s != nil && !s.ended {
			all = append(all, s)
		}
	}
	s := pick(w, all)
	if s == nil {
		return
	}
	s.ended = true
	w.say(s.channel, &codec.End{}, "")
	if s.endedByThem {
		w.forget(s)
		return
	}
	w.hear()
	for _, l := range w.links {
		if l.s == s {
			l.said()
		}
	}
}

func (w *world) attach() {
	s := pick(w, w.living())
	if s == nil {
		return
	}
	handle := []uint32{0, 1, 2, 70, 60000}[w.draw("handle", 4)]
	if s.handles[handle] != nil {
		return
	}
	l := &modelLink{
		s: s, handle: handle, name: []string{"wa", "wb", "ma", "mb", "mc"}[w.draw("name", 4)],
		role: codec.Role(w.flip("role")), settled: map[uint32]string{},
	}
	for _, other := range w.links {
		// A link of that name is taken over, but not while its detach is to come:
		// then the model could not tell the two apart.
		if other.name == l.name && (other.closed || other.gone) {
			return
		}
	}
	s.handles[handle] = l
	w.waiting[l.name] = l
	a := &codec.Attach{Name: l.name, Handle: handle, Role: l.role, SndSettleMode: codec.SendMixed, Source: &codec.Source{}, Target: &codec.Target{}}
	if l.role == codec.Sender {
		a.InitialDeliveryCount = codec.Some(uint32(0))
	}
	w.say(s.channel, a, "")
}

func (w *world) detach() {
	var all []*modelLink // the engine may have detached it
	for _, l := range w.links {
		if !l.gone && !l.s.ended && !l.s.endedByThem {
			all = append(all, l)
		}
	}
	l := pick(w, all)
	if l == nil {
		return
	}
	l.gone = true
	delete(l.s.handles, l.handle)
	w.say(l.s.channel, &codec.Detach{Handle: l.handle, Closed: w.flip("closed")}, "")
	w.hear()
	if !l.closed || !l.told {
		w.t.Fatalf("%s: the detach was not answered, or nobody told", l.name)
	}
	l.said()
	w.links = slices.DeleteFunc(w.links, func(x *modelLink) bool { return x == l })
}

// mayTransfer picks a link on which the peer may send a frame.
func (w *world) mayTransfer(more bool) *modelLink {
	var all []*modelLink
	for _, l := range w.linked(codec.Sender) {
		if l.s.window > 0 && l.more == more && (more || int32(l.limit-l.count) > 0) {
			all = append(all, l)
		}
	}
	l := pick(w, all)
	if l != nil {
		l.s.window--
		l.s.out++
	}
	return l
}

// delivers returns the first transfer of a delivery of the peer's.
func (l *modelLink) delivers() *codec.Transfer {
	l.count++
	l.id = l.s.delivery
	l.s.delivery++
	return first(l.handle, l.id)
}

func (w *world) message() {
	l := w.mayTransfer(false)
	if l == nil {
		return
	}
	m := l.delivers()
	m.Settled = codec.Some(w.flip("settled"))
	payload := strings.Repeat("x", w.draw("size", 300))
	l.want = append(l.want, fmt.Sprint(l.id, " ", m.Settled.V, " ", payload))
	w.say(l.s.channel, m, payload)
}

func (w *world) partly() {
	begun := w.flip("begun")
	l := w.mayTransfer(begun)
	if l == nil {
		return
	}
	m := &codec.Transfer{Handle: l.handle}
	if !begun {
		m = l.delivers()
		l.whole, l.partSettled = "", false
	} else if w.flip("named") {
		m.DeliveryID = codec.Some(l.id)
	}
	what := w.draw("what", 5)
	m.More, m.Aborted = what > 1, what == 0
	if w.draw("settled", 3) == 0 {
		m.Settled = codec.Some(true)
	}
	payload := strings.Repeat("y", w.draw("size", 300))
	if l.more = m.More; !m.Aborted {
		l.whole += payload
		l.partSettled = l.partSettled || m.Settled.V
		if !m.More {
			l.want = append(l.want, fmt.Sprint(l.id, " ", l.partSettled, " ", l.whole))
		}
	}
	w.say(l.s.channel, m, payload)
}

// credit gives a sender of the engine's credit.
func (w *world) credit() {
	l := pick(w, w.linked(codec.Receiver))
	if l == nil {
		return
	}
	n := uint32(w.draw("credit", 4))
	l.limit = l.count + n
	l.s.granted = l.s.in + uint32(w.draw("window", 5))
	m := &codec.Flow{
		NextIncomingID: codec.Some(l.s.in), IncomingWindow: l.s.granted - l.s.in, NextOutgoingID: l.s.out, OutgoingWindow: 10,
		Handle: codec.Some(l.handle), DeliveryCount: codec.Some(l.count), LinkCredit: codec.Some(n),
		Drain: w.draw("drain", 3) == 0, Echo: w.draw("echo", 3) == 0,
	}
	w.say(l.s.channel, m, "")
	w.hear()
	if m.Drain && l.count != l.limit {
		w.t.Fatalf("%s: not drained: %d of %d", l.name, l.count, l.limit)
	}
}

func (w *world) windows() {
	s := pick(w, w.living())
	if s == nil {
		return
	}
	s.granted = s.in + uint32(w.draw("window", 20))
	w.say(s.channel, &codec.Flow{
		NextIncomingID: codec.Some(s.in), IncomingWindow: s.granted - s.in, NextOutgoingID: s.out, OutgoingWindow: 10, Echo: w.flip("echo"),
	}, "")
}

func (w *world) disposition() {
	s := pick(w, w.living())
	if s == nil {
		return
	}
	if s.deliverIn == 0 {
		return
	}
	d := &codec.Disposition{Role: codec.Receiver, First: uint32(w.draw("first", int(s.deliverIn)+1)), Settled: w.flip("settled")}
	d.Last = codec.Some(d.First + uint32(w.draw("run", 3)))
	d.State = []codec.State{codec.Accepted(), codec.Released(), codec.Rejected(nil), {Kind: codec.CodeReceived}}[w.draw("state", 3)]
	w.say(s.channel, d, "")
	w.hear()
	for id := d.First; id <= d.Last.V; id++ {
		if s.open[id] != nil && (d.Settled || d.State.Terminal()) {
			w.t.Fatalf("delivery %d is still open", id)
		}
	}
}

// send has the engine send.
func (w *world) send() {
	l := pick(w, w.linked(codec.Receiver))
	if l == nil {
		return
	}
	size := w.draw("size", 1200)
	payload := strings.Repeat("z", size)
	open := 0
	for _, x := range l.s.open {
		if x == l {
			open++
		}
	}
	settled := w.flip("settled")
	frames := uint32(max(size-1, 0)/(modelFrame-96) + 1)
	err := l.snd.TrySend(amqp.Transfer{Payload: []byte(payload), Settled: settled, Token: l})
	may := l.count != l.limit && frames <= l.s.granted-l.s.in && (settled || open < modelUnsettle)
	if may != (err == nil) {
		w.t.Fatalf("%s: %v with credit up to %d of %d, a window of %d for %d frames and %d open", l.name, err, l.limit, l.count, l.s.granted-l.s.in, frames, open)
	}
	if err == nil {
		l.want = append(l.want, payload)
	}
	w.conn.Push()
	w.hear()
}

// settleSome has the engine settle a delivery, or several.
func (w *world) settleSome() {
	var all []*modelLink
	for _, l := range w.linked(codec.Sender) {
		if len(l.arrived) > 0 {
			all = append(all, l)
		}
	}
	l := pick(w, all)
	if l == nil {
		return
	}
	for range w.draw("more", 3) + 1 {
		if len(l.arrived) == 0 {
			break
		}
		i := w.draw("delivery", len(l.arrived)-1)
		st := []codec.State{codec.Accepted(), codec.Released(), codec.Rejected(amqp.Refuse(amqp.NotAllowed, "%s", strings.Repeat("long ", 200)))}[w.draw("state", 2)]
		id := l.arrived[i].ID
		l.arrived = slices.Delete(l.arrived, i, i+1)
		l.settled[id] = st.Kind.String()
		l.rcv.Settle(id, st)
	}
}

// push has all said that is due.
func (w *world) push() {
	w.conn.Push()
	w.hear()
	for _, l := range w.links {
		l.said()
	}
}

// said checks that what the engine was to say about deliveries was said.
func (l *modelLink) said() {
	for id, what := range l.settled {
		if what != "" {
			l.s.w.t.Fatalf("%s: nothing was said about delivery %d", l.name, id)
		}
	}
}

func (w *world) grant() {
	l := pick(w, slices.DeleteFunc(w.linked(codec.Sender), func(l *modelLink) bool { return l.name[0] == 'w' }))
	if l == nil {
		return
	}
	n := uint32(w.draw("credit", 5))
	l.rcv.Grant(n)
	w.conn.Push()
	w.hear()
	if l.limit != l.count+n {
		w.t.Fatalf("%s: credit up to %d of %d, want %d more", l.name, l.limit, l.count, n)
	}
}

// drain has the engine drain a link: the peer does so at once.
func (w *world) drain() {
	l := pick(w, w.linked(codec.Sender))
	if l == nil {
		return
	}
	had := l.limit != l.count
	l.drainSeen = false
	ch := l.rcv.Drain()
	w.hear()
	if l.drainSeen != had {
		w.t.Fatalf("%s: asked to drain is %v with credit up to %d of %d", l.name, l.drainSeen, l.limit, l.count)
	}
	l.count = l.limit
	w.say(l.s.channel, &codec.Flow{
		NextIncomingID: codec.Some(l.s.in), IncomingWindow: l.s.granted - l.s.in, NextOutgoingID: l.s.out, OutgoingWindow: 10,
		Handle: codec.Some(l.handle), DeliveryCount: codec.Some(l.count), LinkCredit: codec.Some(uint32(0)), Drain: true,
	}, "")
	select {
	case <-ch:
	default:
		w.t.Fatalf("%s: not drained", l.name)
	}
}

func (w *world) closeLink() {
	var all []*modelLink
	all = append(append(all, w.linked(codec.Sender)...), w.linked(codec.Receiver)...)
	l := pick(w, all)
	if l == nil {
		return
	}
	l.told = true // it need not be
	if l.snd != nil {
		l.snd.Close(nil)
	} else {
		l.rcv.Close(nil)
	}
	w.hear()
	if !l.closed {
		w.t.Fatalf("%s: no detach", l.name)
	}
}

func (w *world) endSession() {
	var all []*modelSession
	for _, s := range w.living() {
		if s.s != nil {
			all = append(all, s)
		}
	}
	s := pick(w, all)
	if s == nil {
		return
	}
	for _, l := range w.links {
		if l.s == s {
			l.told = true // they need not be
		}
	}
	if err := s.s.End(nil); err != nil {
		w.t.Fatal(err)
	}
	w.hear()
	if !s.endedByThem {
		w.t.Fatal("no end")
	}
}
