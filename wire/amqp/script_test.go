package amqp_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// script is a peer that says what a test wants it to, frame by frame, and has no
// state of its own.
type script struct {
	t  testing.TB
	nc net.Conn
	r  *codec.Reader
	b  []byte // frames that were not written yet
}

// serve returns a script that a connection of h answers.
func serve(t testing.TB, cfg amqp.Config, h amqp.Handler) (*script, *amqp.Conn) {
	t.Helper()
	return serveOn(t, cfg, h, 0)
}

// serveOn is serve with buffers of the given size on the network.
func serveOn(t testing.TB, cfg amqp.Config, h amqp.Handler, buffer int) (*script, *amqp.Conn) {
	t.Helper()
	here, there := memnet.Pipe("client", "server", buffer)
	conn := amqp.Serve(there, amqp.Prepare(cfg), h)
	t.Cleanup(func() {
		here.Close()
		conn.Abort(nil)
		<-conn.Done()
	})
	return &script{t: t, nc: here, r: codec.NewReader(here, 1<<20)}, conn
}

// add adds frames to what is written next.
func (p *script) add(channel uint16, ps ...codec.Performative) *script {
	for _, f := range ps {
		p.b = codec.AppendFrame(p.b, channel, f, nil)
	}
	return p
}

// transfer adds a transfer.
func (p *script) transfer(channel uint16, f *codec.Transfer, payload string) *script {
	p.b = codec.AppendFrame(p.b, channel, f, []byte(payload))
	return p
}

// raw adds bytes.
func (p *script) raw(b ...byte) *script {
	p.b = append(p.b, b...)
	return p
}

// write writes what was added, at once. That nobody reads it any more is no
// error.
func (p *script) write() *script {
	_, _ = p.nc.Write(p.b)
	p.b = nil
	return p
}

// send writes frames.
func (p *script) send(channel uint16, ps ...codec.Performative) *script {
	return p.add(channel, ps...).write()
}

// frame is what was read, with all that it points into.
type frame struct {
	channel uint16
	p       codec.Performative
	payload []byte
}

// read reads a frame that says something.
func (p *script) read() (frame, error) {
	for {
		f, err := p.r.Next()
		if err != nil {
			return frame{}, err
		}
		if len(f.Body) == 0 {
			continue
		}
		f.Body = append([]byte(nil), f.Body...)
		m, payload, err := f.Performative()
		return frame{f.Channel, m, payload}, err
	}
}

// next reads a frame that must be there.
func (p *script) next() frame {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("read a frame: %v", err)
	}
	return f
}

// expect reads frames up to one of type P.
func expect[P codec.Performative](p *script) P {
	p.t.Helper()
	m, _ := expectFrame[P](p)
	return m
}

func expectFrame[P codec.Performative](p *script) (P, frame) {
	p.t.Helper()
	var seen []string
	for {
		f, err := p.read()
		if m, ok := f.p.(P); ok && err == nil {
			return m, f
		}
		if err != nil {
			var want P
			p.t.Fatalf("want %v: %v after %v", want.Code(), err, seen)
		}
		seen = append(seen, describe(f))
	}
}

// header exchanges protocol headers.
func (p *script) header(want codec.Protocol) *script {
	p.t.Helper()
	p.raw(want.Append(nil)...).write()
	if got, err := p.r.Protocol(); err != nil || got != want {
		p.t.Fatalf("header %d, %v; want %d", got, err, want)
	}
	return p
}

// open opens the connection.
func (p *script) open() *script {
	p.t.Helper()
	p.header(codec.ProtocolAMQP).send(0, opening())
	expect[*codec.Open](p)
	return p
}

// begin opens the connection and begins a session on channel 0.
func (p *script) begin() *script {
	p.t.Helper()
	p.open().send(0, beginning())
	expect[*codec.Begin](p)
	return p
}

func opening() *codec.Open {
	return &codec.Open{ContainerID: "script", Hostname: "host", MaxFrameSize: 1 << 16, ChannelMax: 99}
}

func beginning() *codec.Begin {
	return &codec.Begin{IncomingWindow: 100, OutgoingWindow: 100, HandleMax: codec.DefaultHandleMax}
}

// sending is an attach of a peer that wants to send.
func sending(name string, handle uint32, address string) *codec.Attach {
	return &codec.Attach{
		Name: name, Handle: handle, Role: codec.Sender, SndSettleMode: codec.SendMixed, InitialDeliveryCount: codec.Some(uint32(0)),
		Source: &codec.Source{}, Target: &codec.Target{Address: codec.Some(address)},
	}
}

// receiving is an attach of a peer that wants to receive.
func receiving(name string, handle uint32, address string) *codec.Attach {
	return &codec.Attach{
		Name: name, Handle: handle, Role: codec.Receiver, SndSettleMode: codec.SendMixed,
		Source: &codec.Source{Address: codec.Some(address)}, Target: &codec.Target{},
	}
}

// credit is a flow that gives credit on a link of a peer that has received
// nothing yet.
func credit(handle, n uint32) *codec.Flow {
	return &codec.Flow{
		NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 100, OutgoingWindow: 100,
		Handle: codec.Some(handle), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(n),
	}
}

// first is the only transfer of a delivery.
func first(handle, id uint32) *codec.Transfer {
	return &codec.Transfer{Handle: handle, DeliveryID: codec.Some(id), DeliveryTag: []byte{byte(id)}, MessageFormat: codec.Some(uint32(0))}
}

// describe says what a frame is and, of ends, why.
func describe(f frame) string {
	name := f.p.Code().String()
	var c *codec.Condition
	switch p := f.p.(type) {
	case *codec.Detach:
		name, c = "detach", p.Error
	case *codec.End:
		name, c = "end", p.Error
	case *codec.Close:
		name, c = "close", p.Error
	case *codec.Attach:
		name = "attach " + p.Name
	case *codec.Disposition:
		name = fmt.Sprintf("disposition %v %d-%d %v %v", p.Role, p.First, p.Last.Or(p.First), p.State.Kind, p.Settled)
	}
	if c != nil {
		name += " " + c.Name
	}
	return name
}

// end reads up to the first detach with an error, end or close, or up to the
// answer to a begin that the script sends last, and says which it was.
func (p *script) end() string {
	p.t.Helper()
	p.send(6, beginning())
	for {
		f, err := p.read()
		switch {
		case errors.Is(err, io.EOF):
			return "end of stream"
		case err != nil:
			return err.Error()
		}
		switch m := f.p.(type) {
		case *codec.Detach:
			if m.Error != nil {
				return describe(f)
			}
		case *codec.End:
			if m.Error != nil {
				return describe(f)
			}
		case *codec.Close:
			return describe(f)
		case *codec.Begin:
			if m.RemoteChannel.V == 6 {
				return "goes on"
			}
		}
	}
}

// book is a handler that grants links to addresses by their first letter and
// writes down what it hears: "q" receives with credit 10 and accepts, "m"
// receives with credit given by the test, "n" receives and never settles, "s"
// sends.
type book struct {
	amqp.Client
	mu        sync.Mutex
	lines     []string
	receivers []*amqp.Receiver
	senders   []*amqp.Sender
	arrived   []got
	never     map[*amqp.Receiver]bool // settle
	settle    codec.State
	options   amqp.SenderOptions
	largest   uint64
	onFlush   func()
}

func (b *book) write(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

// read returns what was written since the last read.
func (b *book) read() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.lines
	b.lines = nil
	return lines
}

func (b *book) Attach(a *amqp.Attach) error {
	if a.Address() == "" {
		return amqp.Refuse(amqp.NotFound, "no address")
	}
	r := amqp.ReceiverOptions{Handler: b, Credit: 10, MaxMessageSize: b.largest}
	switch a.Address()[0] {
	case 'q', 'n':
	case 'e':
		r.SettleAtOnce = true
	case 'm':
		r.Credit = 0
	case 's':
		o := b.options
		o.Handler = sends{b}
		s := a.Send(o)
		b.mu.Lock()
		b.senders = append(b.senders, s)
		b.mu.Unlock()
		return nil
	default:
		return amqp.Refuse(amqp.NotFound, "no node %q", a.Address())
	}
	l := a.Receive(r)
	b.mu.Lock()
	if a.Address()[0] == 'n' {
		if b.never == nil {
			b.never = make(map[*amqp.Receiver]bool)
		}
		b.never[l] = true
	}
	b.receivers = append(b.receivers, l)
	b.mu.Unlock()
	return nil
}

func (b *book) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	payload := string(d.Payload)
	if len(payload) > 20 {
		payload = fmt.Sprintf("%d bytes", len(payload))
	}
	b.write("%s: message %d tag %x %q settled %v", r.Name(), d.ID, d.Tag, payload, d.Settled)
	if !d.Settled && !b.never[r] {
		b.arrived = append(b.arrived, got{r, d})
	}
}

func (b *book) Detached(r *amqp.Receiver, err error) { b.write("%s: detached, %v", r.Name(), err) }

func (b *book) Flush(*amqp.Conn) {
	b.mu.Lock()
	onFlush := b.onFlush
	b.mu.Unlock()
	if onFlush != nil {
		onFlush()
	}
	for _, g := range b.arrived {
		st := b.settle
		if st.Kind == 0 {
			st = codec.Accepted()
		}
		g.r.Settle(g.d.ID, st)
	}
	b.arrived = b.arrived[:0]
}

func (b *book) Closed(_ *amqp.Conn, err error) { b.write("closed, %v", err) }

// flushing sets what is done at the end of a burst before all else.
func (b *book) flushing(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onFlush = do
}

// sends writes down what senders hear.
type sends struct{ b *book }

func (s sends) Flow(l *amqp.Sender) {
	s.b.write("%s: credit %d drain %v", l.Name(), l.Credit(), l.Draining())
}

func (s sends) Disposition(l *amqp.Sender, d amqp.Sent, state *codec.State, settled bool) {
	s.b.write("%s: %d token %v is %v settled %v", l.Name(), d.ID, d.Token, state.Kind, settled)
}

func (s sends) Detached(l *amqp.Sender, err error) { s.b.write("%s: detached, %v", l.Name(), err) }

// sender returns the sender that was attached last.
func (b *book) sender() *amqp.Sender {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.senders[len(b.senders)-1]
}

// receiver returns the receiver that was attached last.
func (b *book) receiver() *amqp.Receiver {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.receivers[len(b.receivers)-1]
}
