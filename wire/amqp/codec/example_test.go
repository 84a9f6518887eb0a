package codec_test

import (
	"fmt"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// A message is appended to bytes, and read from them without copying.
func Example() {
	out := codec.Message{
		Properties: codec.Properties{
			MessageID:   codec.UUID([16]byte{0x12, 0x34, 0x56, 0x78}),
			ContentType: "application/json",
		},
		MessageAnnotations:    codec.NewMap(codec.Symbol("x-opt-sequence-number"), codec.Long(7)),
		ApplicationProperties: codec.NewMap(codec.String("level"), codec.String("high")),
		Body:                  codec.Data([]byte(`{"t":21.5}`)),
	}
	wire, err := out.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	var in codec.Message
	if err := in.Decode(wire); err != nil {
		fmt.Println(err)
		return
	}
	body, _ := in.Body.Bytes()
	fmt.Printf("%s %s\n", in.Properties.ContentType, body)
	fmt.Println(in.Properties.MessageID.Kind(), in.Properties.MessageID)
	for k, v := range in.ApplicationProperties.All() {
		fmt.Println(k, v)
	}
	if n, ok := in.MessageAnnotations.Lookup("x-opt-sequence-number"); ok {
		fmt.Println(n.Kind(), n)
	}
	// Output:
	// application/json {"t":21.5}
	// uuid 12345678-0000-0000-0000-000000000000
	// "level" "high"
	// long 7
}

// A frame is cut from the bytes that have arrived, and decoded by its type.
func ExampleSplit() {
	stream := codec.AppendFrame(nil, 5, &codec.Transfer{
		Handle: 1, DeliveryID: codec.Some(uint32(9)), DeliveryTag: []byte("tag"),
	}, []byte("payload"))
	stream = codec.AppendFrame(stream, 5, &codec.Disposition{
		Role: codec.Receiver, First: 9, Settled: true,
		State: codec.Rejected(&codec.Condition{Name: "amqp:not-found", Description: "no such device"}),
	}, nil)

	for {
		f, n, err := codec.Split(stream, 64<<10)
		if err != nil || n == 0 {
			break
		}
		p, payload, err := f.Performative()
		if err != nil {
			fmt.Println(err)
			return
		}
		switch p := p.(type) {
		case *codec.Transfer:
			fmt.Printf("channel %d: transfer %d: %s\n", f.Channel, p.DeliveryID.V, payload)
		case *codec.Disposition:
			fmt.Printf("channel %d: %v: %v\n", f.Channel, p.State.Kind, p.State.Error)
		}
		stream = stream[n:]
	}
	// Output:
	// channel 5: transfer 9: payload
	// channel 5: amqp:rejected:list: amqp:not-found: no such device
}
