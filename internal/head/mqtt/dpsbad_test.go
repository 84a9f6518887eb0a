package mqtt_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// badProvisioning is what a client of the provisioning service can get wrong on an
// open connection, and what is done about it; packets that are malformed as such
// are in badInput.
var badProvisioning = []struct {
	name   string
	bytes  string
	answer answer
	reason mqtt.Reason
}{
	{"PUBLISH to a free topic", wirePublish("anything", 1, 1, "x"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH of telemetry", wirePublish("devices/dev-1/messages/events/", 1, 1, "x"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH of a twin request", wirePublish("$iothub/twin/GET/?$rid=1", 1, 1, ""), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH of an answer", wirePublish("$dps/registrations/res/200/?$rid=1", 0, 0, "{}"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH of an unknown operation", wirePublish("$dps/registrations/PUT/iotdps-delete/?$rid=1", 0, 0, "{}"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH in another case", wirePublish("$dps/Registrations/PUT/iotdps-register/?$rid=1", 0, 0, "{}"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH without a query", wirePublish("$dps/registrations/PUT/iotdps-register/", 0, 0, "{}"), closes, mqtt.ReasonMalformedTopic},
	{"PUBLISH without a request id", wirePublish(lookupTopic+"&operationId=1", 1, 1, ""), closes, mqtt.ReasonMalformedTopic},
	{"PUBLISH with an endless request id", wirePublish(registerTopic+strings.Repeat("9", 300), 0, 0, "{}"), closes, mqtt.ReasonMalformedTopic},
	{"PUBLISH with QoS 2", wirePublish(registerTopic+"1", 2, 1, "{}"), closes, mqtt.ReasonQoS2},
	{"PUBLISH far above the largest request", wirePublish(registerTopic+"1", 1, 1, strings.Repeat(" ", dpsjson.MaxRequest+4<<10)), closes, mqtt.ReasonTooLarge},
	{"PUBLISH that says it is as large as one of a hub may be", "\x32\x84\x80\x10", closes, mqtt.ReasonTooLarge},
	{"PUBLISH with an empty topic", "\x30\x02\x00\x00", closes, mqtt.ReasonMalformed},
	{"second CONNECT", "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a", closes, mqtt.ReasonSecondConnect},
	{"PUBREL", "\x62\x02\x00\x01", closes, mqtt.ReasonUnexpected},
	{"SUBACK", "\x90\x03\x00\x01\x00", closes, mqtt.ReasonUnexpected},
	{"PUBACK of nothing", "\x40\x02\x00\x63", ignores, ""},
	{"UNSUBSCRIBE without a filter", "\xa2\x02\x00\x01", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE to everything", wireSubscribe("#"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE to the commands of a device", wireSubscribe("devices/dev-1/messages/devicebound/#"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE to the answers of all", wireSubscribe("$dps/registrations/+/#"), suback80, mqtt.ReasonUnknownFilter},
}

func TestBadProvisioning(t *testing.T) {
	for _, c := range badProvisioning {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.net.Buffer = 1 << 20
				cl := w.provision("dev-1", "right")
				good := wirePublish(registerTopic+"good", 1, 50, "{}")
				cl.write([]byte(good + c.bytes))
				// What came before is answered.
				cl.acked(50)
				cl.wants("register", "202/?$rid=good&retry-after=2", "assigning")
				switch c.answer {
				case closes:
					cl.closed()
				case suback80:
					if a := expect[*wire.Suback](cl); len(a.Codes) != 1 || a.Codes[0] != 0x80 {
						t.Errorf("SUBACK %+v", a)
					}
					cl.ping()
				case ignores:
					cl.ping()
				}
				synctest.Wait()
				if c.reason != "" && w.refused(c.reason) != 1 {
					t.Errorf("not counted as %s", c.reason)
				}
				if n := len(w.dps.requests()); n != 1 {
					t.Errorf("%d requests were made", n)
				}
			})
		})
	}
}

// FuzzProvisioning sends arbitrary bytes behind a CONNECT to the provisioning
// service. Whatever comes, the server answers with packets only, stops in order,
// and leaves nothing behind.
func FuzzProvisioning(f *testing.F) {
	for _, c := range badProvisioning {
		if len(c.bytes) < 4096 {
			f.Add([]byte(c.bytes), 3, false)
		}
	}
	good := wireSubscribe(dpstopic.Filter) + wirePublish(registerTopic+"1", 1, 1, `{"registrationId":"dev-1","payload":{"a":1}}`) +
		wirePublish(registerTopic+"2", 0, 0, `{"tpm":{"endorsementKey":"AAE="}}`) + wirePublish(lookupTopic+"2&operationId=5.1.dev-1", 1, 2, " ")
	f.Add([]byte(good), 30, false)
	f.Add([]byte(good), 7, true)
	f.Fuzz(func(t *testing.T, b []byte, at int, plain bool) {
		defer headkit.Watchdog(b)()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, mqtt.Limits{}, plain)
			defer w.close()
			c := w.provision("dev-1", "right")
			at = min(max(at, 0), len(b))
			var writer sync.WaitGroup
			defer writer.Wait()
			writer.Go(func() { // the server may close at any point
				if _, err := c.nc.Write(b[:at]); err == nil {
					time.Sleep(time.Second) //nolint:forbidigo // simulated time
					_, _ = c.nc.Write(b[at:])
				}
			})
			_ = c.nc.SetReadDeadline(time.Now().Add(3 * time.Second))
			for {
				p, err := c.r.Packet()
				if err != nil {
					if strings.HasPrefix(err.Error(), "mqtt:") {
						t.Errorf("the server sent no MQTT: %v", err)
					}
					break
				}
				if p, ok := p.(*wire.Publish); ok {
					if _, err := dpstopic.ParseAnswer(p.Topic); err != nil {
						t.Errorf("the server sent no answer: %v", err)
					}
				}
			}
			_ = c.nc.Close()
		})
	})
}
