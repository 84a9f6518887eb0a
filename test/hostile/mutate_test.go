package hostile

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// burst is how long mutated traffic is sent.
const burst = 2 * time.Second

// amqpTraffic is what a good client sends over AMQP, frame by frame: with SASL
// PLAIN, or with a token that it puts.
func amqpTraffic(key []byte, plain bool) (all [][]byte) {
	one := func(p codec.Performative, payload []byte) { all = append(all, codec.AppendFrame(nil, 0, p, payload)) }
	if plain {
		all = append(all, codec.ProtocolSASL.Append(nil))
		one(&codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00attacker@sas.localhost\x00" + proof(key)), Hostname: "localhost"}, nil)
	}
	all = append(all, codec.ProtocolAMQP.Append(nil))
	one(amqppeer.OpenFrame(), nil)
	one(amqppeer.BeginFrame(), nil)
	if !plain {
		one(amqppeer.SendTo(hubamqp.CBSAddress, 0), nil)
		one(amqppeer.ReceiveFrom(hubamqp.CBSAddress, 1), nil)
		one(amqppeer.Credit(1, 10), nil)
		all = append(all, amqppeer.AppendTransfer(nil, 0, 0, 0, amqppeer.PutToken("localhost/devices/attacker", proof(key))))
	}
	for handle, address := range []string{2: "/messages/events", 3: "/twin", 4: "/methods/devicebound"} {
		if address != "" {
			one(amqppeer.SendTo("/devices/attacker"+address, uint32(handle)), nil)
		}
	}
	for handle, address := range []string{5: "/messages/devicebound", 6: "/twin", 7: "/methods/devicebound"} {
		if address != "" {
			one(amqppeer.ReceiveFrom("/devices/attacker"+address, uint32(handle)), nil)
			one(amqppeer.Credit(uint32(handle), 10), nil)
		}
	}
	message := hubamqp.AppendTelemetry(nil, &causeway.Message{
		Body: []byte(`{"t":21.5}`), ID: "m-1", ContentType: "application/json", Properties: []causeway.Property{{Key: "key", Value: "value"}},
	})
	transfer := &codec.Transfer{Handle: 2, DeliveryID: codec.Some(uint32(1)), DeliveryTag: []byte{1}}
	one(transfer, message)
	half := &codec.Transfer{Handle: 2, DeliveryID: codec.Some(uint32(2)), DeliveryTag: []byte{2}, More: true}
	one(half, message[:20])
	one(&codec.Transfer{Handle: 2}, message[20:])
	batch := &codec.Transfer{Handle: 2, DeliveryID: codec.Some(uint32(3)), DeliveryTag: []byte{3}, MessageFormat: codec.Some(uint32(hubamqp.BatchFormat))}
	one(batch, hubamqp.AppendBatch(nil, []causeway.Message{{Body: []byte("one")}, {Body: []byte("two")}}))
	twin := &codec.Transfer{Handle: 3, DeliveryID: codec.Some(uint32(4)), DeliveryTag: []byte{4}}
	one(twin, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: codec.UUID([16]byte{1}), Body: []byte(`{"a":{"b":[1,2]}}`)}))
	one(&codec.Disposition{Role: codec.Receiver, First: 0, Last: codec.Some(uint32(3)), Settled: true, State: codec.Accepted()}, nil)
	one(&codec.Flow{IncomingWindow: 100, OutgoingWindow: 100, Handle: codec.Some(uint32(5)), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(10)), Drain: true}, nil)
	one(&codec.Detach{Handle: 7, Closed: true}, nil)
	one(&codec.End{}, nil)
	one(&codec.Close{}, nil)
	return all
}

// traffic is what a good client sends over one connection, packet by packet.
func traffic(key []byte) (overMQTT, overHTTPS [][]byte) {
	const events = "devices/attacker/messages/events/"
	for _, p := range []mqtt.Packet{
		&mqtt.Connect{
			Version: mqtt.V311, ClientID: "attacker", CleanStart: true, KeepAlive: 60, HasUserName: true,
			UserName: "localhost/attacker/?api-version=2021-04-12&DeviceClientType=x", HasPassword: true, Password: proof(key),
			Will: &mqtt.Will{Topic: events, Payload: []byte("gone"), QoS: 1},
		},
		&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{
			{Filter: "$iothub/twin/res/#", QoS: 1}, {Filter: "$iothub/methods/POST/#"}, {Filter: "devices/attacker/messages/devicebound/#", QoS: 1},
		}},
		&mqtt.Publish{Topic: "$iothub/twin/GET/?$rid=1", QoS: 1, ID: 2},
		&mqtt.Publish{Topic: "$iothub/twin/PATCH/properties/reported/?$rid=2", QoS: 1, ID: 3, Payload: []byte(`{"a":{"b":[1,2,{"c":"é"}]},"d":null}`)},
		&mqtt.Publish{Topic: events + "%24.ct=application%2Fjson&%24.ce=utf-8&%24.mid=m-1&key=value", QoS: 1, ID: 4, Payload: []byte(`{"t":21.5}`)},
		&mqtt.Publish{Topic: events, Payload: []byte("qos 0")},
		&mqtt.Publish{Topic: "$iothub/methods/res/200/?$rid=1", QoS: 1, ID: 5, Payload: []byte("{}")},
		&mqtt.Ack{Kind: mqtt.PUBACK, ID: 1},
		&mqtt.Ping{},
		&mqtt.Unsubscribe{ID: 6, Filters: []string{"$iothub/methods/POST/#"}},
	} {
		b, err := p.Append(nil, mqtt.V311)
		if err != nil {
			panic(err) // a packet of this file
		}
		overMQTT = append(overMQTT, b)
	}
	for _, r := range []string{
		"GET /devices/attacker/modules?api-version=2021-04-12 HTTP/1.1\r\n",
		"GET /devices/attacker/messages/deviceBound?api-version=2021-04-12 HTTP/1.1\r\n",
		"DELETE /devices/attacker/messages/deviceBound/00000000-0000-0000-0000-000000000001?api-version=2021-04-12 HTTP/1.1\r\n",
		"GET /devices/attacker/modules/%24edgeAgent?api-version=2021-04-12 HTTP/1.1\r\nIf-Match: \"*\"\r\n",
	} {
		overHTTPS = append(overHTTPS, []byte(r+"Host: localhost\r\nAuthorization: "+proof(key)+"\r\n\r\n"))
	}
	return overMQTT, append(overHTTPS, []byte("PUT /devices/attacker/modules/m?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n"+
		"Authorization: "+proof(key)+"\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n"+`{"deviceId":"attacker","moduleId":"m"`))
}

// provisioning is what a good client sends to the provisioning service over MQTT,
// packet by packet.
func provisioning(scope, groupKey string) (all [][]byte) {
	key, err := attestation.DeriveKey(causeway.Secret(groupKey), "attacker-2")
	if err != nil {
		panic(err) // a key of the service
	}
	raw, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil {
		panic(err)
	}
	for _, p := range []mqtt.Packet{
		&mqtt.Connect{
			Version: mqtt.V311, ClientID: "attacker-2", CleanStart: true, KeepAlive: 60, HasUserName: true,
			UserName:    dpstopic.Username{Scope: scope, ID: "attacker-2", APIVersion: "2019-03-31", ClientVersion: "x"}.String(),
			HasPassword: true, Password: sas.Sign(scope+"/registrations/attacker-2", raw, "registration", time.Now().Add(time.Hour)),
		},
		&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: dpstopic.Filter, QoS: 1}}},
		&mqtt.Publish{Topic: "$dps/registrations/PUT/iotdps-register/?$rid=1", QoS: 1, ID: 2, Payload: []byte(`{"registrationId":"attacker-2","payload":{"a":[1,"é"]}}`)},
		&mqtt.Publish{Topic: "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.0.1", QoS: 1, ID: 3, Payload: []byte(" ")},
		&mqtt.Publish{Topic: "$dps/registrations/PUT/iotdps-register/?$rid=3", Payload: []byte(`{"tpm":{"endorsementKey":"AAE="}}`)},
		&mqtt.Ping{},
		&mqtt.Unsubscribe{ID: 6, Filters: []string{dpstopic.Filter}},
	} {
		b, err := p.Append(nil, mqtt.V311)
		if err != nil {
			panic(err) // a packet of this file
		}
		all = append(all, b)
	}
	return all
}

// mutate returns b with a few changes of the kinds that parsers fall over.
func mutate(r *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			return b
		}
		i := r.IntN(len(b))
		switch r.IntN(7) {
		case 0: // a bit
			b[i] ^= 1 << r.IntN(8)
		case 1: // a byte
			b[i] = byte(r.Uint32())
		case 2: // an extreme
			b[i] = []byte{0, 1, 0x7f, 0x80, 0xff, '%', '/', '#', '\r', '\n'}[r.IntN(10)]
		case 3: // less
			b = slices.Delete(b, i, min(len(b), i+1+r.IntN(8)))
		case 4: // more
			b = slices.Insert(b, i, []byte(garbage(1+r.IntN(8)))...)
		case 5: // again
			b = append(b, b[i:]...)
		case 6: // the end
			b = b[:i]
		}
	}
	return b
}

// TestMutatedTraffic sends good traffic of one device with small changes. What
// the hub knows of another device is the same as without it, whatever the
// mutations do to their own.
func TestMutatedTraffic(t *testing.T) {
	w := newWorld(t)
	key := w.key("attacker")
	hub, overHTTPS := traffic(key)
	overMQTT := [][][]byte{hub, provisioning(w.Connection().DPSIDScope, w.Connection().DPSGroupKey)}
	overAMQP := [][][]byte{amqpTraffic(key, false), amqpTraffic(key, true)}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	until := time.Now().Add(burst)
	var connections, accepted atomic.Int64
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(worker)))
			for time.Now().Before(until) {
				addr, packets := w.mqtt, overMQTT[r.IntN(len(overMQTT))]
				switch worker % 3 {
				case 0:
					addr, packets = w.https, overHTTPS
				case 1:
					addr, packets = w.amqp, overAMQP[r.IntN(len(overAMQP))]
				}
				// The ones before it are good, so that it is met in every state.
				n := r.IntN(len(packets))
				var b []byte
				for _, p := range packets[:n] {
					b = append(b, p...)
				}
				b = append(b, mutate(r, packets[n])...)
				for _, p := range packets[n+1:] {
					b = append(b, p...)
				}
				answered, err := w.shoot(addr, b)
				if err != nil {
					t.Errorf("%v, after % x", err, b)
					return
				}
				connections.Add(1)
				if answered {
					accepted.Add(1)
				}
			}
		})
	}
	for time.Now().Before(until) {
		w.bystander()
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // polls with a deadline
	}
	wg.Wait()
	t.Logf("%d connections, %d of them were answered, beside %d of the bystander", connections.Load(), accepted.Load(), w.sent)
	if accepted.Load() == 0 || accepted.Load() == connections.Load() && connections.Load() > 300 {
		t.Error("all or nothing was understood: the mutations show nothing")
	}
	w.unharmed(24 << 20)
}

// shoot writes b over a connection of its own and reads what comes until the
// server ends it, which it must after the end of the client's half.
func (w *world) shoot(addr string, b []byte) (answered bool, err error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, w.tls)
	if err != nil {
		return false, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = c.Write(b) // may fail: refused in the middle
	_ = c.CloseWrite()
	n, err := io.Copy(io.Discard, io.LimitReader(c, 1<<20))
	if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // of the connection itself
		return false, fmt.Errorf("the server does not let go")
	}
	return n > 0, nil
}
