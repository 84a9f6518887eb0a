package amqp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// queue is a container with one node, "orders": what is sent to it is stored, and
// sent on to who receives from it. One connection has one queue.
type queue struct {
	amqp.Client                // for the methods that are not needed here
	receiver    *amqp.Receiver // from whoever sends
	sender      *amqp.Sender   // to whoever receives
	arrived     []amqp.Delivery
	stored      [][]byte
}

// Attach grants links to the node.
func (q *queue) Attach(a *amqp.Attach) error {
	if a.Address() != "orders" {
		return amqp.Refuse(amqp.NotFound, "there is no node %q", a.Address())
	}
	if a.Role == codec.Sender { // the peer's role
		q.receiver = a.Receive(amqp.ReceiverOptions{Handler: q, Credit: 100})
	} else {
		q.sender = a.Send(amqp.SenderOptions{Handler: amqp.Outcomes{}})
	}
	return nil
}

// Transfer collects what arrives together.
func (q *queue) Transfer(_ *amqp.Receiver, d amqp.Delivery) { q.arrived = append(q.arrived, d) }

// Detached hears of the end of the link.
func (q *queue) Detached(*amqp.Receiver, error) {}

// Flush stores it as a whole, tells the peer, and sends on what there is credit
// for. (A real queue would also send when credit comes: see SenderHandler.Flow.)
func (q *queue) Flush(*amqp.Conn) {
	for _, d := range q.arrived {
		q.stored = append(q.stored, bytes.Clone(d.Payload)) // it is borrowed
	}
	for _, d := range q.arrived {
		if !d.Settled {
			q.receiver.Settle(d.ID, codec.Accepted())
		}
	}
	q.arrived = q.arrived[:0]
	for q.sender != nil && len(q.stored) > 0 && q.sender.TrySend(amqp.Transfer{Payload: q.stored[0]}) == nil {
		q.stored = q.stored[1:]
	}
}

// Example_serve serves a queue and uses it as a client.
func Example_serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	config := amqp.Prepare(amqp.Config{ContainerID: "example"})
	go func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			amqp.Serve(nc, config, &queue{})
		}
	}()
	if err := client(listener.Addr().String()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// sent: amqp:accepted:list
	// received: two apples
	// there is no node "cellar"
}

// client sends a message and receives it again.
func client(addr string) error {
	ctx := context.Background()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	conn, err := amqp.Dial(ctx, nc, amqp.Prepare(amqp.Config{Hostname: "example.com"}), nil)
	if err != nil {
		return err
	}
	defer func() {
		conn.Close(nil)
		<-conn.Done()
	}()
	session, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	var inbox amqp.Inbox
	receiver, err := session.AttachReceiver(ctx, amqp.LinkConfig{Source: "orders"}, amqp.ReceiverOptions{Handler: &inbox, Credit: 10})
	if err != nil {
		return err
	}
	sender, err := session.AttachSender(ctx, amqp.LinkConfig{Target: "orders"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	if err != nil {
		return err
	}

	message := codec.Message{Body: codec.Data([]byte("two apples"))}
	payload, err := message.Append(nil)
	if err != nil {
		return err
	}
	outcome, err := sender.Deliver(ctx, amqp.Transfer{Payload: payload})
	if err != nil {
		return err
	}
	fmt.Println("sent:", outcome.Kind)

	delivery, err := inbox.Receive(ctx)
	if err != nil {
		return err
	}
	var got codec.Message
	if err := got.Decode(delivery.Payload); err != nil {
		return err
	}
	body, _ := got.Body.Bytes()
	fmt.Println("received:", string(body))
	receiver.Settle(delivery.ID, codec.Accepted())
	conn.Push()

	if _, err = session.AttachSender(ctx, amqp.LinkConfig{Target: "cellar"}, amqp.SenderOptions{}); err != nil {
		if condition, ok := errors.AsType[*codec.Condition](err); ok {
			fmt.Println(condition.Description)
		}
	}
	return nil
}
