package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// channels appends a performative on each of n channels.
func channels(b []byte, n int, of func(channel int) codec.Performative) []byte {
	for i := range n {
		b = codec.AppendFrame(b, uint16(i), of(i), nil)
	}
	return b
}

// floods are what a client that has proven nothing, or little, can send very
// much of. Each is held open while the memory is looked at.
var floods = []struct {
	name  string
	bytes func(w *world) []byte
	most  uint64 // bytes of memory that one such connection may take
	reads bool   // the client reads what it is answered
}{
	{"begins", func(*world) []byte {
		return channels(amqppeer.AppendHello(nil), 8000, func(i int) codec.Performative {
			if i == 0 {
				return &codec.Flow{IncomingWindow: 1, OutgoingWindow: 1}
			}
			return amqppeer.BeginFrame()
		})
	}, 6 << 20, true},
	{"links without a token", func(*world) []byte {
		b := amqppeer.AppendHello(nil)
		for i := range uint32(10_000) {
			b = frames(b, amqppeer.SendTo("/devices/attacker/messages/events", i))
		}
		return b
	}, 8 << 20, true},
	{"links to $cbs", func(*world) []byte {
		b := amqppeer.AppendHello(nil)
		for i := range uint32(10_000) {
			b = frames(b, amqppeer.ReceiveFrom(hubamqp.CBSAddress, 2*i), amqppeer.Credit(2*i, 10))
		}
		return b
	}, 8 << 20, true},
	{"links to $cbs with names of 50 KB", func(*world) []byte {
		b := amqppeer.AppendHello(nil)
		for i := range uint32(200) {
			a := amqppeer.SendTo(hubamqp.CBSAddress, i)
			a.Name = fmt.Sprint(i) + strings.Repeat("n", 50_000)
			b = frames(b, a)
		}
		return b
	}, 4 << 20, true},
	{"refused links with names of 50 KB", func(*world) []byte {
		b := amqppeer.AppendHello(nil)
		for i := range uint32(200) {
			a := amqppeer.SendTo("/devices/attacker/messages/events", i)
			a.Name = fmt.Sprint(i) + strings.Repeat("n", 50_000)
			b = frames(b, a)
		}
		return b
	}, 4 << 20, true},
	{"half tokens on many links", func(*world) []byte {
		b := amqppeer.AppendHello(nil)
		for i := range uint32(200) {
			b = frames(b, amqppeer.SendTo(hubamqp.CBSAddress, i))
			b = codec.AppendFrame(b, 0, &codec.Transfer{Handle: i, DeliveryID: codec.Some(i), DeliveryTag: []byte{1}, More: true}, make([]byte, 60_000))
		}
		return b
	}, 8 << 20, true},
	{"tokens that are none", func(*world) []byte {
		b := frames(amqppeer.AppendHello(nil), amqppeer.SendTo(hubamqp.CBSAddress, 0), amqppeer.ReceiveFrom(hubamqp.CBSAddress, 1))
		for i := range uint32(100) { // the credit
			b = amqppeer.AppendTransfer(b, 0, 0, i, amqppeer.PutToken("localhost/devices/attacker", strings.Repeat("x", 8<<10)))
		}
		return b
	}, 2 << 20, true},
	{"flows that want an answer, none of which is read", func(*world) []byte {
		b := amqppeer.AppendHello(nil)
		for range 20_000 {
			b = frames(b, &codec.Flow{IncomingWindow: 1, OutgoingWindow: 1, Echo: true})
		}
		return b
	}, 4 << 20, false},
	{"refusals, none of which is read", func(*world) []byte {
		b := amqppeer.AppendHello(nil)
		for i := range uint32(8000) {
			a := amqppeer.SendTo("/devices/attacker/messages/events/"+strings.Repeat("x", 200), i)
			b = frames(b, a)
		}
		return b
	}, 8 << 20, false},
	{"dispositions of everything", func(w *world) []byte {
		b := frames(cbs(amqppeer.AppendHello(nil), "localhost/devices/attacker", proof(w.key("attacker"))),
			amqppeer.ReceiveFrom("/devices/attacker/messages/devicebound", 2), amqppeer.Credit(2, 1000))
		for range 20_000 {
			b = frames(b, &codec.Disposition{Role: codec.Receiver, First: 0, Last: codec.Some(uint32(1<<32 - 1)), State: codec.Accepted()})
		}
		return b
	}, 2 << 20, true},
	{"heartbeats", func(*world) []byte {
		b := amqppeer.AppendHello(nil)
		for range 50_000 {
			b = codec.AppendFrame(b, 0, nil, nil)
		}
		return b
	}, 2 << 20, true},
	{"frames of the largest size that are no message", func(w *world) []byte {
		b := frames(cbs(amqppeer.AppendHello(nil), "localhost/devices/attacker", proof(w.key("attacker"))), amqppeer.SendTo("/devices/attacker/messages/events", 2))
		for i := range uint32(200) {
			b = codec.AppendFrame(b, 0, &codec.Transfer{Handle: 2, DeliveryID: codec.Some(i + 1), DeliveryTag: []byte{1}}, make([]byte, 64<<10-100))
		}
		return b
	}, 4 << 20, true},
	{"empty messages by the thousand in one", func(w *world) []byte {
		b := frames(cbs(amqppeer.AppendHello(nil), "localhost/devices/attacker", proof(w.key("attacker"))), amqppeer.SendTo("/devices/attacker/messages/events", 2))
		batch := strings.Repeat("\x00\x53\x75\xa0\x00", 12_000)
		for i := range uint32(20) {
			b = codec.AppendFrame(b, 0, &codec.Transfer{Handle: 2, DeliveryID: codec.Some(i + 1), DeliveryTag: []byte{1}, MessageFormat: codec.Some(uint32(hubamqp.BatchFormat))}, []byte(batch))
		}
		return b
	}, 8 << 20, true},
	{"a dialogue of SASL without an end", func(*world) []byte {
		b := codec.ProtocolSASL.Append(nil)
		b = frames(b, &codec.SASLInit{Mechanism: "PLAIN"})
		for range 2000 {
			b = frames(b, &codec.SASLResponse{Response: make([]byte, 4000)})
		}
		return b
	}, 1 << 20, true},
}

// TestAMQPFloods sends floods of every kind over several connections at a time.
// The memory that they take is bounded while they last, others are served, and
// all of it is given back.
func TestAMQPFloods(t *testing.T) {
	w := newWorld(t)
	const connections = 3
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			b := f.bytes(w)
			began := time.Now()
			w.log.Forget() // the test's own memory
			before := inUse()
			var wg sync.WaitGroup
			var held []*amqppeer.Raw
			for range connections {
				raw := w.raw()
				held = append(held, raw)
				_ = raw.SetDeadline(began.Add(patience))
				sent := make(chan struct{})
				wg.Go(func() {
					defer close(sent)
					_, _ = raw.Write(b) // may fail: the server ended it
				})
				if f.reads {
					wg.Go(func() { _, _ = io.Copy(io.Discard, raw) }) // until it is closed
				}
				select {
				case <-sent:
				case <-time.After(500 * time.Millisecond): // the server stops to read when it cannot write
					if f.reads {
						<-sent
					}
				}
			}
			w.bystander()
			w.log.Forget()
			most := int64(f.most * connections)
			used := int64(inUse() - before)
			// What is under way to clients that read passes, on a busy machine later.
			for used > most && time.Since(began) < patience {
				w.bystander()
				w.log.Forget()
				used = int64(inUse() - before)
			}
			runtime.KeepAlive(b) // which counts before and after
			t.Logf("%d KiB sent, %d KiB in use for each connection, %v", len(b)>>10, used>>10/connections, time.Since(began))
			if used > most {
				t.Errorf("each connection takes %d KiB, at most %d are right", used>>10/connections, f.most>>10)
			}
			for _, raw := range held {
				raw.Close()
			}
			wg.Wait()
		})
	}
	w.unharmed(24 << 20)
}

// inUse returns what is in use once garbage is gone.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // pools give up what they hold with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestHelloFlood opens connections and sessions, as fast as it can, and leaves
// them at some point.
func TestHelloFlood(t *testing.T) {
	w := newWorld(t)
	until := time.Now().Add(burst)
	hello := cbs(amqppeer.AppendHello(nil), "localhost/devices/attacker", proof(w.key("attacker")))
	var n [8]int
	var wg sync.WaitGroup
	for worker := range n {
		wg.Go(func() {
			for ; time.Now().Before(until); n[worker]++ {
				raw := w.tryRaw()
				if raw == nil {
					return
				}
				part := n[worker]%8 + 1
				_, _ = raw.Write(hello[:len(hello)*part/8])
				if part == 8 {
					_ = raw.Welcome()
				}
				raw.Close()
			}
		})
	}
	for time.Now().Before(until) {
		w.bystander()
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // polls with a deadline
	}
	wg.Wait()
	all := 0
	for _, n := range n {
		all += n
	}
	t.Logf("%d connections beside %d of the bystander", all, w.sent)
	w.unharmed(16 << 20)
}

// lying is a frame that is never finished: its header says size.
func lying(size uint32, rest string) string {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], size)
	b[4] = 2
	return string(b[:]) + rest
}
