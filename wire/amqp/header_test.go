package amqp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

var (
	amqpHeader = string(codec.ProtocolAMQP.Append(nil))
	saslHeader = string(codec.ProtocolSASL.Append(nil))
)

// TestHeaders checks what is answered to a protocol header, and that the stream
// ends after a wrong one.
func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name string
		say  string
		sasl bool
		want string
		ends bool
	}{
		{"AMQP", amqpHeader, false, amqpHeader, false},
		{"AMQP where SASL is offered", amqpHeader, true, amqpHeader, false},
		{"SASL", saslHeader, true, saslHeader, false},
		{"SASL where it is not offered", saslHeader, false, amqpHeader, true},
		{"TLS", "AMQP\x02\x01\x00\x00", true, saslHeader, true},
		{"AMQP 0.9.1", "AMQP\x00\x00\x09\x01", false, amqpHeader, true},
		{"AMQP 1.0.1", "AMQP\x00\x01\x00\x01", false, amqpHeader, true},
		{"unknown protocol id", "AMQP\x07\x01\x00\x00", false, amqpHeader, true},
		{"HTTP", "GET / HTTP/1.1\r\nHost: hub\r\n\r\n", true, saslHeader, true},
		{"wrong first byte", "X", false, amqpHeader, true},
		{"wrong fourth byte", "AMQQ", false, amqpHeader, true},
		{"zeros", strings.Repeat("\x00", 1<<16), false, amqpHeader, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := amqp.Config{}
				if c.sasl {
					cfg.Mechanisms = []amqp.Mechanism{anonymous()}
				}
				p, conn := serve(t, cfg, &book{})
				start := time.Now()
				if _, err := p.nc.Write([]byte(c.say)); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(c.want))
				if _, err := io.ReadFull(p.nc, got); err != nil || string(got) != c.want {
					t.Fatalf("%q, %v, want %q", got, err, c.want)
				}
				if !c.ends {
					return
				}
				if rest, err := io.ReadAll(p.nc); err != nil || len(rest) > 0 {
					t.Errorf("%q, %v", rest, err)
				}
				<-conn.Done()
				if conn.Err() == nil {
					t.Error("the connection ended without an error")
				}
				if d := time.Since(start); d > 3*time.Second {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

// mechanisms are PLAIN for one user, one that lets everybody in, and one that
// takes several steps.
func mechanisms() []amqp.Mechanism {
	return []amqp.Mechanism{
		{Name: "PLAIN", Start: func(*amqp.Conn) amqp.Dialogue {
			return func(response []byte) ([]byte, bool, error) {
				switch {
				case response == nil:
					return []byte{}, false, nil
				case string(response) == "\x00user\x00secret":
					return nil, true, nil
				}
				return nil, false, errors.New("wrong password")
			}
		}},
		anonymous(),
		{Name: "LONG", Start: func(*amqp.Conn) amqp.Dialogue {
			return func(response []byte) ([]byte, bool, error) {
				return append([]byte("more than "), response...), len(response) > 40, nil
			}
		}},
	}
}

// TestSASL is the matrix of dialogues with a server.
func TestSASL(t *testing.T) {
	outcome := func(code codec.SASLOutcomeCode) string { return fmt.Sprintf("outcome %d", code) }
	init := func(mechanism string, response []byte) codec.Performative {
		return &codec.SASLInit{Mechanism: mechanism, InitialResponse: response}
	}
	for _, c := range []struct {
		name string
		say  []codec.Performative
		want []string
	}{
		{"ANONYMOUS", []codec.Performative{init("ANONYMOUS", nil)}, []string{outcome(0)}},
		{"PLAIN", []codec.Performative{init("PLAIN", []byte("\x00user\x00secret"))}, []string{outcome(0)}},
		{"PLAIN, wrong password", []codec.Performative{init("PLAIN", []byte("\x00user\x00public"))}, []string{outcome(1), "EOF"}},
		{
			"PLAIN without an initial response",
			[]codec.Performative{init("PLAIN", nil), &codec.SASLResponse{Response: []byte("\x00user\x00secret")}},
			[]string{"challenge", outcome(0)},
		},
		{
			"PLAIN, wrong password in the response",
			[]codec.Performative{init("PLAIN", nil), &codec.SASLResponse{Response: []byte{}}},
			[]string{"challenge", outcome(1), "EOF"},
		},
		{"mechanism that is not offered", []codec.Performative{init("SCRAM-SHA-1", nil)}, []string{outcome(1), "EOF"}},
		{"mechanism in lower case", []codec.Performative{init("plain", nil)}, []string{outcome(1), "EOF"}},
		{"response before the init", []codec.Performative{&codec.SASLResponse{Response: []byte{}}}, []string{"EOF"}},
		{"second init", []codec.Performative{init("LONG", nil), init("LONG", nil)}, []string{"challenge", "EOF"}},
		{"what servers send", []codec.Performative{&codec.SASLOutcome{}}, []string{"EOF"}},
		{"AMQP frame in the dialogue", []codec.Performative{opening()}, []string{"EOF"}},
		{
			"dialogue without an end",
			append([]codec.Performative{init("LONG", nil)}, many(&codec.SASLResponse{Response: []byte{}}, 20)...),
			[]string{"challenge", "challenge", "challenge", "challenge", "challenge", "challenge", "challenge", "challenge", "EOF"},
		},
		{"large response", []codec.Performative{init("PLAIN", make([]byte, 9<<10))}, []string{"EOF"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &book{}
				p, conn := serve(t, amqp.Config{Mechanisms: mechanisms()}, b)
				p.header(codec.ProtocolSASL)
				if m := expect[*codec.SASLMechanisms](p); !m.Mechanisms.Has("PLAIN") || !m.Mechanisms.Has("ANONYMOUS") {
					t.Error(m)
				}
				p.send(0, c.say...)
				for _, want := range c.want {
					got := ""
					f, err := p.read()
					switch m := f.p.(type) {
					case *codec.SASLOutcome:
						got = outcome(m.Outcome)
					case *codec.SASLChallenge:
						got = "challenge"
					case nil:
						got = err.Error()
					}
					if got != want {
						t.Fatalf("%s, want %s", got, want)
					}
				}
				if c.want[len(c.want)-1] == outcome(0) {
					p.begin()
					return
				}
				<-conn.Done()
				if lines := strings.Join(b.read(), " "); !strings.HasPrefix(lines, "closed, ") || strings.Contains(lines, "nil") {
					t.Error(lines)
				}
			})
		})
	}
}

func many(p codec.Performative, n int) (all []codec.Performative) {
	for range n {
		all = append(all, p)
	}
	return all
}

// TestDialSASL is the matrix of dialogues with a client, against our server and
// against ones that get it wrong.
func TestDialSASL(t *testing.T) {
	respond := func(challenge []byte) ([]byte, error) {
		if len(challenge) > 60 {
			return nil, errors.New("this goes on for too long")
		}
		return challenge, nil
	}
	for _, c := range []struct {
		name string
		sasl *amqp.ClientSASL
		want string
	}{
		{"none", nil, ""},
		{"PLAIN", amqp.PlainSASL("user", "secret"), ""},
		{"wrong password", amqp.PlainSASL("user", "public"), "outcome code 1"},
		{"ANONYMOUS", amqp.AnonymousSASL(), ""},
		{"not offered", amqp.ExternalSASL(), "EXTERNAL is not offered"},
		{"challenge", &amqp.ClientSASL{Mechanism: "LONG", Respond: respond}, ""},
		{"unexpected challenge", &amqp.ClientSASL{Mechanism: "LONG"}, "unexpected challenge"},
		{"challenge that is not answered", &amqp.ClientSASL{Mechanism: "LONG", Respond: func([]byte) ([]byte, error) { return nil, io.ErrNoProgress }}, io.ErrNoProgress.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := memnet.Pipe("client", "server", 0)
				served := amqp.Serve(there, amqp.Prepare(amqp.Config{Mechanisms: mechanisms()}), &book{})
				conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(amqp.Config{SASL: c.sasl}), nil)
				switch {
				case c.want == "" && err != nil:
					t.Error(err)
				case c.want != "" && (err == nil || !errors.Is(err, amqp.ErrSASL) || !errors.Is(err, amqp.ErrClosed) || !strings.Contains(err.Error(), c.want)):
					t.Errorf("%v, want %s", err, c.want)
				}
				if conn != nil {
					conn.Close(nil)
					<-conn.Done()
				}
				<-served.Done()
			})
		})
	}
}

// TestDialWrongServer dials peers that do not speak as servers do.
func TestDialWrongServer(t *testing.T) {
	sasl := func(ps ...codec.Performative) string {
		b := []byte(saslHeader)
		for _, p := range ps {
			b = codec.AppendFrame(b, 0, p, nil)
		}
		return string(b)
	}
	anonymous := &codec.SASLMechanisms{Mechanisms: codec.NewSymbols("ANONYMOUS")}
	for _, c := range []struct {
		name string
		sasl *amqp.ClientSASL
		say  string
		want error
	}{
		{"nothing", nil, "", amqp.ErrLost},
		{"HTTP", nil, "HTTP/1.1 400 Bad Request\r\n\r\n", nil},
		{"SASL instead of AMQP", nil, saslHeader, nil},
		{"AMQP instead of SASL", amqp.AnonymousSASL(), amqpHeader, nil},
		{"no open", nil, amqpHeader, amqp.ErrLost},
		{"begin instead of open", nil, amqpHeader + string(codec.AppendFrame(nil, 0, beginning(), nil)), nil},
		{"close with an error", nil, amqpHeader + string(codec.AppendFrame(codec.AppendFrame(nil, 0, opening(), nil), 0,
			&codec.Close{Error: amqp.Refuse(amqp.NotFound, "no such host")}, nil)), amqp.ErrRemote},
		{"outcome without mechanisms", amqp.AnonymousSASL(), sasl(&codec.SASLOutcome{}), amqp.ErrSASL},
		{"challenge without mechanisms", amqp.AnonymousSASL(), sasl(&codec.SASLChallenge{Challenge: []byte{}}), amqp.ErrSASL},
		{"mechanisms twice", amqp.AnonymousSASL(), sasl(anonymous, anonymous), amqp.ErrSASL},
		{"what clients send", amqp.AnonymousSASL(), sasl(anonymous, &codec.SASLResponse{Response: []byte{}}), nil},
		{"system error", amqp.AnonymousSASL(), sasl(anonymous, &codec.SASLOutcome{Outcome: codec.SASLSysTemp}), amqp.ErrSASL},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := memnet.Pipe("client", "server", 0)
				over := time.AfterFunc(time.Second, func() { there.Close() })
				defer over.Stop()
				_, _ = io.WriteString(there, c.say)
				b := &book{}
				conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(amqp.Config{SASL: c.sasl}), b)
				if c.name == "close with an error" && err == nil { // the close may come after Dial has returned
					<-conn.Done()
					err = conn.Err()
				}
				if err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if lines := b.read(); len(lines) != 1 {
					t.Error(lines)
				}
			})
		})
	}
}

// TestDialGivesUp ends a dial with its context.
func TestDialGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, _ := memnet.Pipe("client", "server", 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := amqp.Dial(ctx, here, amqp.Prepare(amqp.Config{}), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := here.Write([]byte{0}); err == nil {
			t.Error("the network connection is still open")
		}
	})
}

// dialogue is what a client says in all, and what it hears.
func dialogue() (say []byte) {
	frames := func(channel uint16, ps ...codec.Performative) {
		for _, p := range ps {
			say = codec.AppendFrame(say, channel, p, nil)
		}
	}
	say = codec.ProtocolSASL.Append(say)
	frames(0, &codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00user\x00secret")})
	say = codec.ProtocolAMQP.Append(say)
	frames(0, opening(), beginning())
	frames(3, beginning())
	frames(0, sending("in", 0, "q"), receiving("out", 1, "s"), sending("none", 2, "x"))
	say = codec.AppendFrame(say, 0, nil, nil)
	say = codec.AppendFrame(say, 0, first(0, 0), []byte("whole"))
	m := first(0, 1)
	m.More = true
	say = codec.AppendFrame(say, 0, m, []byte("in "))
	say = codec.AppendFrame(say, 0, &codec.Transfer{Handle: 0, More: true}, []byte("three "))
	say = codec.AppendFrame(say, 0, &codec.Transfer{Handle: 0}, []byte("parts"))
	frames(0, &codec.Detach{Handle: 2, Closed: true},
		&codec.Flow{NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 100, OutgoingWindow: 100, Echo: true},
		&codec.Detach{Handle: 1, Closed: true})
	frames(3, &codec.End{})
	frames(0, &codec.End{}, &codec.Close{})
	return say
}

// answer lets a server of ours hear say in the given pieces, and returns all that
// it answers.
func answer(t *testing.T, pieces [][]byte) (out []byte, lines []string) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 1<<20)
		b := &book{}
		conn := amqp.Serve(there, amqp.Prepare(amqp.Config{ContainerID: "server", Mechanisms: mechanisms()}), b)
		done := make(chan struct{})
		go func() {
			defer close(done)
			out, _ = io.ReadAll(here)
		}()
		for _, p := range pieces {
			if _, err := here.Write(p); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		<-conn.Done()
		<-done
		here.Close()
		lines = b.read()
	})
	return out, lines
}

// TestPipelined sends a whole dialogue at once, cut in two at every byte, and
// byte by byte: what is answered is the same. Settlements may be said in one
// frame or in two, which is all that the pieces may change.
func TestPipelined(t *testing.T) {
	say := dialogue()
	whole, heard := answer(t, [][]byte{say})
	want := told(t, whole)
	for _, w := range []string{"disposition receiver 0-0", "disposition receiver 1-1", "attach in", "attach out", "detach amqp:not-found", "close"} {
		if !strings.Contains(want, w) {
			t.Fatalf("no %q in %s", w, want)
		}
	}
	check := func(name string, pieces [][]byte) {
		t.Helper()
		out, lines := answer(t, pieces)
		if got := told(t, out); got != want {
			t.Fatalf("%s: answered\n%s, want\n%s", name, got, want)
		}
		if strings.Join(lines, "\n") != strings.Join(heard, "\n") {
			t.Fatalf("%s: the handler heard\n%q, want\n%q", name, lines, heard)
		}
	}
	for i := 1; i < len(say); i++ {
		check(fmt.Sprint("cut at ", i), [][]byte{say[:i], say[i:]})
	}
	var bytewise [][]byte
	for i := range say {
		bytewise = append(bytewise, say[i:i+1])
	}
	check("byte by byte", bytewise)
}

// told is what frames say, without what depends on how the input came:
// settlements by single delivery, and without flows.
func told(t *testing.T, out []byte) string {
	t.Helper()
	var b strings.Builder
	var settled []string
	for len(out) > 0 {
		if bytes.HasPrefix(out, []byte("AMQP")) {
			fmt.Fprintf(&b, "header %d\n", out[4])
			out = out[codec.HeaderSize:]
			continue
		}
		f, n, err := codec.Split(out, 1<<20)
		if err != nil || n == 0 {
			t.Fatalf("%x: %v", out, err)
		}
		out = out[n:]
		p, _, err := f.Performative()
		if err != nil {
			t.Fatal(err)
		}
		switch m := p.(type) {
		case *codec.Flow:
		case *codec.Disposition:
			for id := m.First; id <= m.Last.Or(m.First); id++ {
				d := *m
				d.First, d.Last = id, codec.Optional[uint32]{}
				settled = append(settled, describe(frame{p: &d}))
			}
		default:
			fmt.Fprintf(&b, "%d %s %x\n", f.Channel, describe(frame{p: p}), f.Body)
		}
	}
	return b.String() + strings.Join(settled, "\n")
}

// TestPlainConn serves a connection that cannot tell what has arrived.
func TestPlainConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 0)
		b := &book{}
		conn := amqp.Serve(onlyConn{there}, amqp.Prepare(amqp.Config{Mechanisms: mechanisms()}), b)
		_, _ = here.Write(dialogue())
		out, err := io.ReadAll(here)
		if err != nil {
			t.Fatal(err)
		}
		<-conn.Done()
		here.Close()
		if s := told(t, out); !strings.Contains(s, "disposition receiver 1-1") {
			t.Error(s)
		}
	})
}

// onlyConn hides all but a net.Conn.
type onlyConn struct{ net.Conn }
