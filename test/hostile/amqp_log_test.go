package hostile

import (
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestAMQPLog has clients say very long things in every place that the server
// might repeat: its log does not grow with them.
func TestAMQPLog(t *testing.T) {
	w := newWorld(t)
	huge, large := strings.Repeat("h", 60_000), strings.Repeat("l", 7000)
	sasl := func(p codec.Performative) []byte { return frames(codec.ProtocolSASL.Append(nil), p) }
	open := func(change func(*codec.Open)) []byte {
		o := amqppeer.OpenFrame()
		change(o)
		return frames(codec.ProtocolAMQP.Append(nil), o, amqppeer.BeginFrame())
	}
	attach := func(a *codec.Attach) []byte { return frames(amqppeer.AppendHello(nil), a) }
	owner := func() []byte { return cbs(amqppeer.AppendHello(nil), "localhost", w.policyToken(w.owner)) }
	device := func() []byte {
		b := cbs(amqppeer.AppendHello(nil), "localhost/devices/attacker", proof(w.key("attacker")))
		return frames(b, amqppeer.SendTo("/devices/attacker/messages/events", 2))
	}
	selector := func(text string) *codec.Attach {
		a := amqppeer.ReceiveFrom("localhost/ConsumerGroups/$Default/Partitions/0", 2)
		a.Source.Filter = codec.NewMap(codec.Symbol(hubamqp.FilterName), codec.Described(codec.Symbol(hubamqp.FilterName), codec.String(text)))
		return a
	}
	message := func(m causeway.Message) []byte {
		return amqppeer.AppendTransfer(device(), 0, 2, 1, hubamqp.AppendTelemetry(nil, &m))
	}
	command := func(id causeway.Identity) []byte {
		return amqppeer.AppendTransfer(frames(owner(), amqppeer.SendTo(hubamqp.ServiceCommandsAddress, 2)), 0, 2, 1, hubamqp.AppendServiceCommand(nil, id, &causeway.Message{}))
	}
	long := &codec.Condition{Name: "x:" + huge[:20_000], Description: huge[:40_000]}
	for name, b := range map[string][]byte{
		"mechanism":         sasl(&codec.SASLInit{Mechanism: large}),
		"user name":         sasl(&codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00" + large + "@sas.localhost\x00x")}),
		"password":          sasl(&codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00attacker@sas.localhost\x00" + large)}),
		"host":              open(func(o *codec.Open) { o.Hostname = huge }),
		"container":         open(func(o *codec.Open) { o.ContainerID = huge }),
		"error of a close":  frames(amqppeer.AppendHello(nil), &codec.Close{Error: long}),
		"error of an end":   frames(amqppeer.AppendHello(nil), &codec.End{Error: long}),
		"address":           attach(amqppeer.SendTo(huge, 0)),
		"address of a host": attach(amqppeer.SendTo("amqps://"+huge+"/devices/attacker/messages/events", 0)),
		"device":            attach(amqppeer.SendTo("/devices/"+huge+"/messages/events", 0)),
		"partition":         attach(amqppeer.ReceiveFrom("localhost/ConsumerGroups/$Default/Partitions/"+huge, 0)),
		"two links":         frames(amqppeer.AppendHello(nil), amqppeer.SendTo("/devices/"+huge+"/messages/events", 0), amqppeer.SendTo("/devices/"+huge+"/messages/events", 0)),
		"name of a token":   cbs(amqppeer.AppendHello(nil), huge, "SharedAccessSignature sr=x&sig=y&se=1"),
		"token":             cbs(amqppeer.AppendHello(nil), "localhost", "SharedAccessSignature sr="+huge+"&sig=y&se=1"),
		"policy":            cbs(amqppeer.AppendHello(nil), "localhost", "SharedAccessSignature sr=localhost&sig=eA==&se=1&skn="+huge[:4000]),
		"type of a token": amqppeer.AppendTransfer(frames(amqppeer.AppendHello(nil), amqppeer.SendTo(hubamqp.CBSAddress, 0), amqppeer.ReceiveFrom(hubamqp.CBSAddress, 1), amqppeer.Credit(1, 10)),
			0, 0, 0, hubamqp.AppendPutToken(nil, hubamqp.PutToken{MessageID: codec.String("1"), Type: huge, Name: "localhost", Token: "x"})),
		"selector":            frames(owner(), selector(huge)),
		"consumer group":      frames(owner(), amqppeer.ReceiveFrom("localhost/ConsumerGroups/"+large+"/Partitions/0", 2)),
		"event hub":           frames(owner(), amqppeer.ReceiveFrom(large+"/ConsumerGroups/$Default/Partitions/0", 2)),
		"device of a command": command(causeway.Identity{Device: large}),
		"module of a command": command(causeway.Identity{Device: "attacker", Module: large}),
		"message id":          message(causeway.Message{ID: huge}),
		"property":            message(causeway.Message{Properties: []causeway.Property{{Key: huge, Value: "x"}}}),
		"content type":        message(causeway.Message{ContentType: huge}),
		"request to $management": amqppeer.AppendTransfer(frames(owner(), amqppeer.SendTo("localhost/$management", 2), amqppeer.ReceiveFrom("localhost/$management", 3), amqppeer.Credit(3, 10)),
			0, 2, 1, hubamqp.AppendManagementRequest(nil, hubamqp.ManagementRequest{MessageID: codec.String("1"), Type: hubamqp.TypePartition, Name: huge, Partition: "0"})),
		"descriptor": append(amqppeer.AppendHello(nil), lying(uint32(60_000+8+6), "\x00\xb3\x00\x00\xea\x60"+huge)...),
	} {
		t.Run(name, func(t *testing.T) {
			raw := w.raw()
			defer raw.Close()
			had := len(w.log.String())
			_, _ = raw.Write(frames(b, &codec.Close{}))
			_ = raw.Conn.(interface{ CloseWrite() error }).CloseWrite()
			if _, err := raw.Protocol(); err != nil {
				t.Fatal(err)
			}
			if _, err := raw.Ended(); err != nil {
				t.Error(err)
			}
			w.bystander() // what the end of the connection says is in the log by then
			for line := range strings.Lines(w.log.String()[had:]) {
				if len(line) > 2<<10 {
					t.Errorf("a line of %d bytes is in the log: %.300s", len(line), line)
				}
			}
		})
	}
	w.unharmed(16 << 20)
}
