package amqp_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/tlsnet"
	wire "github.com/causeway-iot/causeway/wire/amqp"
)

// withTLS has the server take TLS with client certificates, and clients use it
// for a host name.
func (w *world) withTLS(serverName string, certs ...tls.Certificate) {
	config := headkit.ServerTLS(w.t, host)
	w.wrap = func(l net.Listener) net.Listener { return tlsnet.NewListener(l, config) }
	w.tls = &tls.Config{InsecureSkipVerify: true, ServerName: serverName, Certificates: certs}
}

// TestSASL is the matrix of how clients begin a connection (IoT Hub's, §2.4).
func TestSASL(t *testing.T) {
	for _, c := range []struct {
		name string
		sasl *wire.ClientSASL
	}{
		{"no SASL layer", nil},
		{"ANONYMOUS", wire.AnonymousSASL()},
		{"ANONYMOUS with a trace", &wire.ClientSASL{Mechanism: "ANONYMOUS", Initial: []byte("trace")}},
		{"ANONYMOUS without a response", &wire.ClientSASL{Mechanism: "ANONYMOUS"}},
		{"MSSBCBS", &wire.ClientSASL{Mechanism: "MSSBCBS"}},
		{"MSSBCBS with a response", &wire.ClientSASL{Mechanism: "MSSBCBS", Initial: []byte{}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				cl := w.dial(func(cfg *wire.Config) { cfg.SASL = c.sasl })
				cl.put(w.dev1, inAnHour())
				cl.telemetry(cl.out(hubamqp.KindTelemetry, w.dev1), "x")
				cl.close()
			})
		})
	}
}

// TestPlain is what a user name and a password let a client do.
func TestPlain(t *testing.T) {
	dev1, mod := causeway.Identity{Hub: "hub", Device: "dev1"}, causeway.Identity{Hub: "hub", Device: "dev1", Module: "m1"}
	for _, c := range []struct {
		name, user string
		password   func() string
		refused    bool
		id         causeway.Identity // whose links are attached; "" for none
	}{
		{"device", "dev1@sas.hub", func() string { return tokenOf(dev1, inAnHour()) }, false, dev1},
		{"device, short", "dev1@hub", func() string { return tokenOf(dev1, inAnHour()) }, false, dev1},
		{"device, host in place of the hub", "dev1@sas.hub.example", func() string { return tokenOf(dev1, inAnHour()) }, false, dev1},
		{"module", "dev1/modules/m1@sas.hub", func() string { return tokenOf(mod, inAnHour()) }, false, mod},
		{"policy with the right DeviceConnect", "device@sas.root.hub", func() string { return policyToken("device", "", inAnHour()) }, false, dev1},
		{"policy of back ends", "service@sas.root.hub", func() string { return policyToken("service", "", inAnHour()) }, false, causeway.Identity{}},
		{"key of a policy", "owner", func() string { return string(keyText("policy owner")) }, false, causeway.Identity{}},
		{"wrong key of a policy", "owner", func() string { return string(keyText("policy device")) }, true, causeway.Identity{}},
		{"key of no policy", "nobody", func() string { return string(keyText("policy nobody")) }, true, causeway.Identity{}},
		{"token of another device", "dev1@sas.hub", func() string { return tokenOf(causeway.Identity{Device: "dev2"}, inAnHour()) }, true, dev1},
		{"token of the device for its module", "dev1/modules/m1@sas.hub", func() string { return tokenOf(dev1, inAnHour()) }, true, mod},
		{"expired token", "dev1@sas.hub", func() string { return tokenOf(dev1, time.Now().Add(-time.Hour)) }, true, dev1},
		{"unknown device", "dev9@sas.hub", func() string { return tokenOf(causeway.Identity{Device: "dev9"}, inAnHour()) }, true, dev1},
		{"token of another policy", "service@sas.root.hub", func() string { return policyToken("device", "", inAnHour()) }, true, dev1},
		{"no token", "dev1@sas.hub", func() string { return "secret" }, true, dev1},
		{"no password", "dev1@sas.hub", func() string { return "" }, true, dev1},
		{"user name of no form", "a/b/c", func() string { return "x" }, true, dev1},
	} {
		for _, early := range []bool{false, true} {
			name := c.name + ", judged at the open"
			if early {
				name = c.name + ", judged in the dialogue"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, amqp.Limits{})
					if early {
						w.withTLS(host)
					}
					w.start()
					defer w.close()
					cl, err := w.tryDial(wire.Config{SASL: wire.PlainSASL(c.user, c.password()), Hostname: host})
					if c.refused {
						if err == nil {
							t.Fatal("the client was let in")
						}
						if (early || c.user == "a/b/c") != errors.Is(err, wire.ErrSASL) {
							t.Errorf("refused with %v", err)
						}
						synctest.Wait()
						if w.refused(amqp.ReasonSASL) != 1 {
							t.Error("not counted")
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					defer cl.close()
					if c.id.Device == "" {
						_, err := cl.tryOut(hubamqp.DeviceAddress(hubamqp.KindTelemetry, w.dev1), wire.LinkConfig{}, hubamqp.LinkProperties{})
						if conditionOf(err) != hubamqp.Unauthorized {
							t.Errorf("a link of a device: %v", err)
						}
						return
					}
					cl.telemetry(cl.out(hubamqp.KindTelemetry, c.id), "x")
					other, err := cl.tryOut(hubamqp.DeviceAddress(hubamqp.KindTelemetry, w.dev2), wire.LinkConfig{}, hubamqp.LinkProperties{})
					if all := c.user[0:6] == "device"; (err == nil) != all {
						t.Errorf("a link of another device: %v %v", other, err)
					}
				})
			})
		}
	}
}

// TestPlainEndsWithItsToken: there is no way to put another.
func TestPlainEndsWithItsToken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		at := time.Now().Add(90 * time.Second)
		cl, err := w.tryDial(wire.Config{SASL: wire.PlainSASL("device@sas.root.hub", policyToken("device", "", at)), Hostname: host})
		if err != nil {
			t.Fatal(err)
		}
		r := cl.in(hubamqp.KindCommands, w.dev1, 10)
		if got := r.ended(); got != hubamqp.Unauthorized {
			t.Errorf("the link ended with %s", got)
		}
		if got := cl.ended(); got != hubamqp.Unauthorized {
			t.Errorf("the connection ended with %s", got)
		}
		if d := time.Until(at); d > 0 || d < -time.Second {
			t.Errorf("it ended %v before its token", d)
		}
	})
}

func TestExternal(t *testing.T) {
	for _, with := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, amqp.Limits{})
			cert := headkit.Certificate(t, "dev1")
			if with {
				w.withTLS(host, cert)
			} else {
				w.withTLS(host)
			}
			w.x509(w.dev1, cert)
			w.start()
			defer w.close()
			cl, err := w.tryDial(wire.Config{SASL: &wire.ClientSASL{Mechanism: "EXTERNAL"}})
			if (err == nil) != with {
				t.Fatalf("with a certificate %v: %v", with, err)
			}
			if with {
				cl.telemetry(cl.out(hubamqp.KindTelemetry, w.dev1), "x")
				cl.close()
			}
		})
	}
}

// x509 has an identity authenticate with a certificate.
func (w *world) x509(id causeway.Identity, cert tls.Certificate) {
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		w.t.Fatal(err)
	}
	w.subjects[id] = auth.Subject{ID: id, Type: auth.SelfSigned, PrimaryThumb: thumbprint(leaf)}
}

// TestCertificate is a connection without SASL and without tokens.
func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, amqp.Limits{})
		cert := headkit.Certificate(t, "dev1")
		w.withTLS(host, cert)
		w.x509(w.dev1, cert)
		w.start()
		defer w.close()
		cl := w.dial()
		// The first link may take its time.
		time.Sleep(10 * time.Minute) //nolint:forbidigo // simulated time
		cl.telemetry(cl.out(hubamqp.KindTelemetry, w.dev1), "x")
		cl.in(hubamqp.KindCommands, w.dev1, 10)
		for _, id := range []causeway.Identity{w.dev2, w.mod} {
			if _, err := cl.tryOut(hubamqp.DeviceAddress(hubamqp.KindTelemetry, id), wire.LinkConfig{}, hubamqp.LinkProperties{}); conditionOf(err) != hubamqp.Unauthorized {
				t.Errorf("a link of %s: %v", id, err)
			}
		}
		if got := w.tap.Last().Transport; got != causeway.AMQP {
			t.Errorf("transport %s", got)
		}
		cl.close()

		// Who never attaches one need not stay, but may come back.
		idle := w.dial()
		begin := time.Now()
		if got := idle.ended(); got != hubamqp.ConnectionForced {
			t.Errorf("ended with %s", got)
		}
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("after %v", d)
		}
	})
}

// TestCertificateOfNobody: anyone can make a certificate, so that it gives no more
// time than to those who have none, and no place among those who are let in.
func TestCertificateOfNobody(t *testing.T) {
	for _, x := range []struct {
		name, subject string
		gone          bool // deleted before it comes
	}{
		{name: "stranger", subject: "stranger"},
		{name: "no name"},
		{name: "another device's name", subject: "dev2"},
		{name: "module's name", subject: "dev1/m1"},
		{name: "deleted", subject: "dev1", gone: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, amqp.Limits{HalfOpen: 1})
				cert := headkit.Certificate(t, x.subject)
				w.withTLS(host, cert)
				if x.subject == "dev1" {
					w.x509(w.dev1, cert)
				}
				if x.gone {
					delete(w.subjects, w.dev1)
					w.hub.Delete(t, w.dev1)
				}
				w.start()
				defer w.close()
				first := w.dial()
				begin := time.Now()
				other := w.nc() // which only waits
				defer other.Close()
				time.Sleep(30 * time.Second) //nolint:forbidigo // simulated time
				if n := headkit.Value(w.metrics.Connections); n != 1 {
					t.Errorf("%v connections were let in", n)
				}
				if got := first.ended(); got != hubamqp.ConnectionForced {
					t.Errorf("ended with %s", got)
				}
				if d := time.Since(begin); d != time.Minute {
					t.Errorf("after %v", d)
				}
				time.Sleep(time.Second) //nolint:forbidigo // simulated time
				if n := headkit.Value(w.metrics.Connections); n != 1 {
					t.Errorf("%v connections, want the other one", n)
				}
			})
		})
	}
}

// TestHosts is which hub a connection is for.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		name, hostname, serverName string
		want                       string // "" when refused
	}{
		{"its name", host, "", host},
		{"its name in another case, with a port", "HUB.example:5671", "", host},
		{"another of its names", "Gateway.Example", "", "gateway.example"},
		{"the name in the handshake", "", host, host},
		{"unknown, the name in the handshake", "10.0.0.1", host, host},
		{"unknown", "elsewhere.example", "", ""},
		{"unknown everywhere", "elsewhere.example", "other.example", ""},
		{"none", " ", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, amqp.Limits{})
				if c.serverName != "" {
					w.withTLS(c.serverName)
				}
				w.start()
				defer w.close()
				cl, err := w.tryDial(wire.Config{Hostname: c.hostname})
				if c.want == "" {
					if conditionOf(err) != hubamqp.NotFound {
						t.Fatalf("dial: %v", err)
					}
					synctest.Wait()
					if w.refused(amqp.ReasonUnknownHost) != 1 {
						t.Error("not counted")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				cl.put(w.dev1, inAnHour())
				if got := w.tap.Last().Host; got != c.want {
					t.Errorf("the hub was asked for %q", got)
				}
				cl.close()
			})
		})
	}
}

// TestUnclaimed: who shows nothing is disconnected after a minute.
func TestUnclaimed(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(c *client)
		ends bool
	}{
		{"nothing", func(*client) {}, true},
		{"links to $cbs", func(c *client) { c.attachCBS() }, true},
		{"a token that is refused", func(c *client) {
			c.tryPut(host+"/devices/dev1", tokenOf(causeway.Identity{Device: "dev1"}, time.Now().Add(-time.Hour)))
		}, true},
		{"a token", func(c *client) { c.put(causeway.Identity{Device: "dev1"}, inAnHour()) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				cl := w.dial()
				begin := time.Now()
				c.do(cl)
				if !c.ends {
					time.Sleep(30 * time.Minute) //nolint:forbidigo // simulated time
					cl.telemetry(cl.out(hubamqp.KindTelemetry, w.dev1), "x")
					cl.close()
					return
				}
				if got := cl.ended(); got != hubamqp.Unauthorized {
					t.Errorf("ended with %s", got)
				}
				if d := time.Since(begin); d != time.Minute {
					t.Errorf("after %v", d)
				}
				synctest.Wait()
				if w.refused(amqp.ReasonUnclaimed) != 1 {
					t.Error("not counted")
				}
			})
		})
	}
}
