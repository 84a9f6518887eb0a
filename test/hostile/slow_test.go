package hostile

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// slowEach is how many clients of each slow kind there are.
const slowEach = 12

// slow is a client that begins something and does not get on with it.
type slow struct {
	name string
	// begin opens the connection and writes the beginning; then one byte of
	// rest is written now and then.
	begin func(w *world) (net.Conn, error)
	rest  byte
	// cut says that the server ends the connection within the test's time. The
	// other deadlines are longer and tested in a time of their own.
	cut bool
	// one says that there is one such client only: it is connected, and others
	// of its identity would end it.
	one bool
}

func slowKinds(key []byte) []slow {
	connect, err := (&mqtt.Connect{
		Version: mqtt.V311, ClientID: "attacker", CleanStart: true, KeepAlive: 60,
		HasUserName: true, UserName: "localhost/attacker/?api-version=2021-04-12", HasPassword: true, Password: proof(key),
	}).Append(nil, mqtt.V311)
	if err != nil {
		panic(err) // a packet of this file
	}
	over := func(port func(*world) string, text string, protocols ...string) func(*world) (net.Conn, error) {
		return func(w *world) (net.Conn, error) {
			cfg := w.tls.Clone()
			cfg.NextProtos = protocols
			c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", port(w), cfg)
			if err != nil {
				return nil, err
			}
			_, err = io.WriteString(c, text)
			return c, err
		}
	}
	plain := func(port func(*world) string, text string) func(*world) (net.Conn, error) {
		return func(w *world) (net.Conn, error) {
			c, err := net.DialTimeout("tcp", port(w), patience)
			if err == nil {
				_, err = io.WriteString(c, text)
			}
			return c, err
		}
	}
	mq := func(w *world) string { return w.mqtt }
	am := func(w *world) string { return w.amqp }
	web := func(w *world) string { return w.https }
	const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	auth := "Authorization: " + proof(key) + "\r\n"
	return []slow{
		{name: "MQTT port, TLS handshake byte by byte", begin: plain(mq, hello), rest: 'x'},
		{name: "MQTT, nothing after the handshake", begin: over(mq, "")},
		{name: "MQTT, CONNECT byte by byte", begin: over(mq, string(connect[:len(connect)/2])), rest: 'x'},
		{name: "MQTT, PUBLISH never finished", begin: over(mq, string(connect)+"\x30\xff\x7f\x00\x20devices/attacker/messages/events/"), one: true},
		{name: "AMQP port, TLS handshake byte by byte", begin: plain(am, hello), rest: 'x'},
		{name: "AMQP, nothing after the handshake", begin: over(am, "")},
		{name: "AMQP, part of a header", begin: over(am, "AMQP")},
		{name: "AMQP, SASL init byte by byte", begin: over(am, string(codec.ProtocolSASL.Append(nil))+lying(8000, "\x00")), rest: 'x'},
		{name: "AMQP, open byte by byte", begin: over(am, string(codec.ProtocolAMQP.Append(nil))+lying(60_000, "\x00")), rest: 'x'},
		{name: "AMQP, frame never finished after the open", begin: over(am, string(amqppeer.AppendHello(nil))+lying(60_000, "\x00")), rest: 'x'},
		{name: "AMQP, token never finished", begin: over(am, string(codec.AppendFrame(frames(amqppeer.AppendHello(nil), amqppeer.SendTo("$cbs", 0)), 0, &codec.Transfer{
			DeliveryID: codec.Some(uint32(0)), DeliveryTag: []byte{1}, More: true,
		}, make([]byte, 50_000))))},
		{name: "HTTPS port, TLS handshake byte by byte", begin: plain(web, hello), rest: 'x', cut: true},
		{name: "HTTPS, nothing after the handshake", begin: over(web, ""), cut: true},
		{name: "HTTPS, header byte by byte", begin: over(web, "GET /devices/attacker/modules?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nX-Slow: "), rest: 'x', cut: true},
		{name: "HTTPS, body byte by byte", begin: over(web, "PUT /devices/attacker/modules/m?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n"+auth+"Content-Length: 100000\r\n\r\n{"), rest: ' '},
		{name: "HTTPS, registration byte by byte", begin: over(web, "PUT /0ne00000000/registrations/d/register?api-version=2021-06-01 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{"), rest: ' '},
		{name: "WebSocket, nothing after the upgrade", begin: over(web, "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")},
		{name: "WebSocket, nothing after the upgrade to AMQP", begin: over(web, "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: AMQPWSB10\r\n\r\n")},
	}
}

// TestSlow has clients of every slow kind at work while ten thousand more
// connections to the HTTPS port are half-open. Others are served meanwhile, and
// what is beyond its deadline is cut.
func TestSlow(t *testing.T) {
	w := newWorld(t)
	kinds := slowKinds(w.key("attacker"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	end := sync.OnceFunc(func() { close(stop) })
	t.Cleanup(end)

	var mu sync.Mutex
	var open []net.Conn
	for i := range kinds {
		k := &kinds[i]
		n := slowEach
		if k.one {
			n = 1
		}
		for range n {
			wg.Go(func() {
				began := time.Now()
				c, err := k.begin(w)
				if err != nil {
					t.Errorf("%s: %v", k.name, err)
					return
				}
				defer c.Close()
				mu.Lock()
				open = append(open, c)
				mu.Unlock()
				switch cut, err := k.crawl(c, stop); {
				case err != nil:
					t.Errorf("%s: %v", k.name, err)
				case cut && !k.cut:
					t.Errorf("%s: cut after %v", k.name, time.Since(began))
				case !cut && k.cut:
					t.Errorf("%s: not cut after %v", k.name, time.Since(began))
				}
			})
		}
	}
	t.Logf("with slow clients of %d kinds the bystander was served in %v", len(kinds), w.bystander())

	lift := w.besiege(w.https, halfOpen)
	t.Logf("with %d half-open connections too it was served in %v", halfOpen, w.bystander())
	held := runtime.NumGoroutine() - w.goroutines
	if held < halfOpen/2 {
		t.Errorf("the cloud holds only %d of them: this shows nothing", held)
	}
	// The HTTPS port cuts the besiegers off although they hold on.
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > w.goroutines+halfOpen/10 {
		if time.Now().After(deadline) {
			t.Fatalf("the HTTPS port still holds %d connections", runtime.NumGoroutine()-w.goroutines)
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // polls with a deadline
	}
	lift()
	end()
	wg.Wait()
	mu.Lock()
	for _, c := range open {
		c.Close()
	}
	mu.Unlock()
	w.unharmed(16 << 20)
}

// crawl reads, and writes a byte each half second, until the server ends the
// connection or the test says stop.
func (k *slow) crawl(c net.Conn, stop <-chan struct{}) (cut bool, err error) {
	buf := make([]byte, 4<<10)
	for {
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		for {
			if _, err := c.Read(buf); errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err != nil {
				return true, nil
			}
		}
		select {
		case <-stop:
			return false, nil
		default:
		}
		if k.rest != 0 {
			if _, err := c.Write([]byte{k.rest}); err != nil {
				return true, nil
			}
		}
	}
}
