package hostile

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestAMQPPlain proves itself, or not, in a dialogue of SASL PLAIN.
func TestAMQPPlain(t *testing.T) {
	w := newWorld(t)
	key := w.key("attacker")
	cs, err := sas.ParseConnectionString(w.Connection().ServiceConnectionString)
	if err != nil {
		t.Fatal(err)
	}
	inAnHour := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name, user, password string
		ok                   bool
	}{
		{"device", "attacker@sas.localhost", proof(key), true},
		{"policy", "service@sas.root.localhost", w.policyToken(w.Connection().ServiceConnectionString), true},
		{"key of a policy", "service", cs.SharedAccessKey, true},
		{"another device", "bystander@sas.localhost", proof(key), false},
		{"another device, signed with a key of one's own", "bystander@sas.localhost", sas.Sign("localhost/devices/bystander", key, "", inAnHour), false},
		{"policy, signed with the key of a device", "iothubowner@sas.root.localhost", sas.Sign("localhost", key, "iothubowner", inAnHour), false},
		{"key of a device for that of a policy", "iothubowner", base64.StdEncoding.EncodeToString(key), false},
		{"key of another policy", "iothubowner", cs.SharedAccessKey, false},
		{"expired", "attacker@sas.localhost", sas.Sign("localhost/devices/attacker", key, "", time.Now().Add(-time.Hour)), false},
		{"another hub", "attacker@sas.localhost", sas.Sign("other.example/devices/attacker", key, "", inAnHour), false},
		{"nothing", "", "", false},
		{"garbage", garbage(100), garbage(2000), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := w.raw()
			defer raw.Close()
			b := codec.ProtocolSASL.Append(nil)
			b = frames(b, &codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00" + c.user + "\x00" + c.password), Hostname: "localhost"})
			if _, err := raw.Write(b); err != nil {
				t.Fatal(err)
			}
			if p, err := raw.Protocol(); err != nil || p != codec.ProtocolSASL {
				t.Fatal(p, err)
			}
			if _, err := amqppeer.Expect[*codec.SASLMechanisms](raw); err != nil {
				t.Fatal(err)
			}
			o, err := amqppeer.Expect[*codec.SASLOutcome](raw)
			if err != nil || (o.Outcome == codec.SASLOK) != c.ok {
				t.Fatalf("outcome %+v %v", o, err)
			}
			// Who goes on as if nothing had happened gets nowhere.
			_, _ = raw.Write(amqppeer.AppendHello(nil))
			if err := raw.Welcome(); (err == nil) != c.ok {
				t.Errorf("open: %v", err)
			}
		})
	}
	w.unharmed(16 << 20)
}
