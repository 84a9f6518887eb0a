package mqtt_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

func TestConnect(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1, func(p *wire.Connect) { p.UserName += "&model-id=dtmi:com:example:T;1&auth-chain=a;b" })
		c.ping()
		got := w.tap.Last()
		want := w.dev1
		want.Identity.Hub = ""
		if got.Host != host || got.Identity != want.Identity || got.Token != want.Token || got.APIVersion != "2021-04-12" ||
			got.ClientType != "test/1" || got.ModelID != "dtmi:com:example:T;1" || got.AuthChain != "a;b" ||
			got.Transport != causeway.MQTT || got.RemoteAddr != "client-1" || got.Certificates != nil {
			t.Errorf("credential %+v", got)
		}
		if !w.hub.Connected(t, w.dev1.Identity) {
			t.Error("the hub does not know the device as connected")
		}
		c.disconnect()
		synctest.Wait()
		if w.hub.Connected(t, w.dev1.Identity) {
			t.Error("the hub still knows the device as connected")
		}
		m := w.connect(w.mod, clean)
		m.ping()
		m.disconnect()
		other := w.dev1
		other.Host = "GATEWAY.example" // an alias, in another case
		w.connect(other).disconnect()
	})
}

func TestRefusedConnects(t *testing.T) {
	busy := causeway.Errorf(causeway.ThrottlingException, "test", "slow down")
	for name, c := range map[string]struct {
		change func(p *wire.Connect)
		hub    error
		code   wire.Reason
		reason mqtt.Reason
	}{
		"client id of another device":  {func(p *wire.Connect) { p.ClientID = "dev2" }, nil, 2, mqtt.ReasonClientID},
		"client id empty":              {func(p *wire.Connect) { p.ClientID, p.CleanStart = "", true }, nil, 2, mqtt.ReasonClientID},
		"client id in another case":    {func(p *wire.Connect) { p.ClientID = "DEV1" }, nil, 2, mqtt.ReasonClientID},
		"no user name":                 {func(p *wire.Connect) { p.HasUserName, p.HasPassword = false, false }, nil, 4, mqtt.ReasonUserName},
		"user name without a device":   {func(p *wire.Connect) { p.UserName = host }, nil, 4, mqtt.ReasonUserName},
		"user name with odd version":   {func(p *wire.Connect) { p.UserName = host + "/dev1/?api-version=soon" }, nil, 4, mqtt.ReasonUserName},
		"unknown host":                 {func(p *wire.Connect) { p.UserName = strings.Replace(p.UserName, host, "elsewhere", 1) }, nil, 5, mqtt.ReasonUnauthorized},
		"unknown device":               {func(p *wire.Connect) { p.ClientID, p.UserName = "nobody", host+"/nobody" }, nil, 5, mqtt.ReasonUnauthorized},
		"wrong password":               {func(p *wire.Connect) { p.Password = "SharedAccessSignature sr=x" }, nil, 5, mqtt.ReasonUnauthorized},
		"no password":                  {func(p *wire.Connect) { p.HasPassword = false }, nil, 5, mqtt.ReasonUnauthorized},
		"hub busy":                     {nil, busy, 3, mqtt.ReasonBusy},
		"hub failing":                  {nil, errors.New("disk on fire"), 3, mqtt.ReasonBusy},
		"hub suspended":                {nil, causeway.Errorf(causeway.IotHubSuspended, "", ""), 5, mqtt.ReasonUnauthorized},
		"will on another device":       {func(p *wire.Connect) { p.Will = &wire.Will{Topic: "devices/dev2/messages/events/"} }, nil, 5, mqtt.ReasonWill},
		"will on a free topic":         {func(p *wire.Connect) { p.Will = &wire.Will{Topic: "gone"} }, nil, 5, mqtt.ReasonWill},
		"will on a twin topic":         {func(p *wire.Connect) { p.Will = &wire.Will{Topic: "$iothub/twin/GET/?$rid=1"} }, nil, 5, mqtt.ReasonWill},
		"will with QoS 2":              {func(p *wire.Connect) { p.Will = &wire.Will{Topic: "devices/dev1/messages/events/", QoS: 2} }, nil, 5, mqtt.ReasonWill},
		"will with malformed property": {func(p *wire.Connect) { p.Will = &wire.Will{Topic: "devices/dev1/messages/events/a=%ff"} }, nil, 5, mqtt.ReasonWill},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.tap.Refuse(c.hub)
				cl := w.dial()
				p := connectPacket(w.dev1)
				if c.change != nil {
					c.change(p)
				}
				cl.send(p)
				if ack := expect[*wire.Connack](cl); ack.Code != c.code || ack.SessionPresent {
					t.Errorf("CONNACK %+v, want code %d", ack, c.code)
				}
				cl.closed()
				synctest.Wait()
				if n := w.refused(c.reason); n != 1 {
					t.Errorf("refused %d times for %s", n, c.reason)
				}
				if len(w.hub.Telemetry(t, "dev1")) != 0 {
					t.Error("the will of a refused client was published")
				}
			})
		})
	}
}

func TestMQTT5IsToldSo(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.dial()
		p := connectPacket(w.dev1)
		p.Version = wire.V5
		p.Properties = wire.Properties{{ID: wire.ReceiveMaximum, Num: 10}}
		c.send(p)
		c.r.Version = wire.V5
		if ack := expect[*wire.Connack](c); ack.Code != wire.UnsupportedVersion {
			t.Errorf("CONNACK %+v", ack)
		}
		c.closed()
	})
}

func TestDisabledWhileConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		w.hub.Disable(t, w.dev1.Identity)
		c.closed()
	})
}

func TestTokenExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.hub.Expiring(t, w.dev1.Identity, time.Now().Add(30*time.Second)))
		time.Sleep(29 * time.Second) //nolint:forbidigo // simulated time
		c.ping()
		c.closed()
	})
}

func TestTakeover(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		will := func(p *wire.Connect) {
			p.Will = &wire.Will{Topic: "devices/dev1/messages/events/k=v", Payload: []byte("replaced")}
		}
		old := w.connect(w.dev1, will)
		old.subscribe(1, old.commands())
		c := w.connect(w.dev1)
		old.closed()
		c.ping()
		synctest.Wait()
		ms := w.hub.Telemetry(t, "dev1")
		if len(ms) != 1 || string(ms[0].Body) != "replaced" {
			t.Errorf("the will of the replaced connection: %+v", ms)
		}
		if !w.hub.Connected(t, w.dev1.Identity) {
			t.Error("the new connection lost its session")
		}
	})
}

func TestWill(t *testing.T) {
	will := func(retain bool) func(*wire.Connect) {
		return func(p *wire.Connect) {
			p.Will = &wire.Will{Topic: "devices/dev1/messages/events/%24.ct=text%2Fplain&a=b", Payload: []byte("gone"), QoS: 1, Retain: retain}
		}
	}
	published := func(t *testing.T, w *world, retain bool) {
		t.Helper()
		synctest.Wait()
		ms := w.hub.Telemetry(t, "dev1")
		if len(ms) != 1 {
			t.Fatalf("%d messages, want the will", len(ms))
		}
		m := ms[0]
		typ, _ := m.Property("iothub-MessageType")
		a, _ := m.Property("a")
		r1, _ := m.Property("mqtt-retain")
		r2, _ := m.Property("x-opt-retain")
		if string(m.Body) != "gone" || typ != "Will" || a != "b" || m.ContentType != "text/plain" ||
			(r1 == "true") != retain || (r2 == "true") != retain {
			t.Errorf("will %+v", m)
		}
	}
	none := func(t *testing.T, w *world) {
		t.Helper()
		synctest.Wait()
		if ms := w.hub.Telemetry(t, "dev1"); len(ms) != 0 {
			t.Errorf("published %+v", ms)
		}
	}
	t.Run("connection lost", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.connect(w.dev1, will(false))
			_ = c.nc.Close()
			published(t, w, false)
		})
	})
	t.Run("retained", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.connect(w.dev1, will(true))
			_ = c.nc.Close()
			published(t, w, true)
		})
	})
	t.Run("violation", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.connect(w.dev1, will(false))
			c.send(&wire.Publish{Topic: "nowhere"})
			c.closed()
			published(t, w, false)
		})
	})
	t.Run("silence", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			w.connect(w.dev1, will(false), func(p *wire.Connect) { p.KeepAlive = 10 })
			time.Sleep(17 * time.Second) //nolint:forbidigo // simulated time
			published(t, w, false)
		})
	})
	t.Run("token expired", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.connect(w.hub.Expiring(t, w.dev1.Identity, time.Now().Add(10*time.Second)), will(false))
			c.closed()
			published(t, w, false)
		})
	})
	t.Run("disabled", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.connect(w.dev1, will(false))
			w.hub.Disable(t, w.dev1.Identity)
			c.closed()
			none(t, w)
		})
	})
	t.Run("disconnect", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			w.connect(w.dev1, will(false)).disconnect()
			none(t, w)
		})
	})
	t.Run("server stops", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.connect(w.dev1, will(false))
			w.restart()
			c.closed()
			none(t, w)
		})
	})
}

func TestKeepAlive(t *testing.T) {
	for name, c := range map[string]struct {
		keepAlive uint16
		want      time.Duration
	}{
		"60 s": {60, 90 * time.Second},
		"1 s":  {1, 1500 * time.Millisecond},
		"0":    {0, 1765500 * time.Millisecond},
		"max":  {65535, 1765500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				cl := w.connect(w.dev1, func(p *wire.Connect) { p.KeepAlive = c.keepAlive })
				// A packet moves the time on.
				time.Sleep(c.want / 2) //nolint:forbidigo // simulated time
				cl.ping()
				begin := time.Now()
				_ = cl.nc.SetReadDeadline(begin.Add(2*c.want + time.Minute))
				if _, err := cl.r.Packet(); err == nil {
					t.Fatal("a packet came")
				}
				if d := time.Since(begin); d < c.want || d > c.want+1100*time.Millisecond {
					t.Errorf("closed after %v, want %v", d, c.want)
				}
				synctest.Wait()
				if w.refused(mqtt.ReasonKeepAlive) != 1 {
					t.Error("not counted")
				}
			})
		})
	}
}

func TestConnectDeadline(t *testing.T) {
	for name, write := range map[string]func(c *client){
		"nothing": func(c *client) {},
		"part":    func(c *client) { c.write([]byte{0x10, 0x20, 0, 4, 'M'}) },
		"drop by drop": func(c *client) {
			p, err := connectPacket(causeway.Credential{Host: "h", Identity: causeway.Identity{Device: strings.Repeat("d", 100)}}).Append(nil, wire.V311)
			if err != nil {
				c.t.Fatal(err)
			}
			for i := range 55 {
				c.write(p[i : i+1])
				time.Sleep(time.Second) //nolint:forbidigo // simulated time
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				begin := time.Now()
				c := w.dial()
				write(c)
				_ = c.nc.SetReadDeadline(begin.Add(2 * time.Minute))
				if _, err := c.r.Packet(); err == nil {
					t.Fatal("a packet came")
				}
				if d := time.Since(begin); d < 60*time.Second || d > 62*time.Second {
					t.Errorf("closed after %v", d)
				}
				synctest.Wait()
				if w.refused(mqtt.ReasonConnectTimeout) != 1 {
					t.Error("not counted")
				}
			})
		})
	}
}

// TestHandshakeDeadline stops in the middle of a TLS handshake.
func TestHandshakeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("mem")
		metrics := obs.NewHead(nil, "mqtt")
		ctx, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		s := &mqtt.Server{Hub: hubtest.Null("hub"), Sessions: nullStore{}, Metrics: metrics}
		go func() { served <- s.Serve(ctx, quietTLS(t)(l)) }()
		for _, hello := range []string{"", "\x16\x03", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"} {
			begin := time.Now()
			nc, err := l.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Write([]byte(hello)); err != nil {
				t.Fatal(err)
			}
			_ = nc.SetReadDeadline(begin.Add(2 * time.Minute))
			if _, err := nc.Read(make([]byte, 1)); err == nil {
				t.Error("an answer came")
			}
			if d := time.Since(begin); d < 60*time.Second || d > 62*time.Second {
				t.Errorf("closed after %v", d)
			}
			_ = nc.Close()
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if n := headkit.Value(metrics.Refused.WithLabelValues(string(mqtt.ReasonConnectTimeout))); n != 3 {
			t.Errorf("%v counted", n)
		}
	})
}
