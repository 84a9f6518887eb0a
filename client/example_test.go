package client_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

// A device connects, sends telemetry, and answers what the cloud asks.
func ExampleConnect() {
	pem, err := os.ReadFile("causeway-data/ca/ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	roots, err := client.LoadCA(pem)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	d, err := client.Connect(ctx, client.DeviceOptions{
		Options:          client.Options{RootCAs: roots},
		ConnectionString: os.Getenv("DEVICE_CONNECTION_STRING"),
		Commands: func(_ context.Context, m *causeway.Message) error {
			fmt.Printf("command: %s\n", m.Body)
			return nil // acknowledges it
		},
		Methods: func(_ context.Context, c causeway.Call) (causeway.Result, error) {
			return causeway.Result{Status: 200, Payload: c.Payload}, nil
		},
		Desired: func(_ context.Context, p causeway.Patch) {
			fmt.Printf("desired version %d: %s\n", p.Version, p.Properties)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	// Returns when the message is on the hub's stable storage.
	err = d.Send(ctx, &causeway.Message{
		Body:        []byte(`{"temperature":21.5}`),
		ContentType: "application/json", ContentEncoding: "utf-8",
		Properties: []causeway.Property{{Key: "alert", Value: "false"}},
	})
	if err != nil {
		log.Fatal(err)
	}
}

// A device that knows an id scope and its key finds its hub, and connects to it.
func ExampleProvision() {
	ctx := context.Background()
	a, err := client.Provision(ctx, client.ProvisioningOptions{
		Endpoint: "dps.example.com", IDScope: "0ne00AB12CD", RegistrationID: "press-7",
		Key: causeway.Secret(os.Getenv("DEVICE_KEY")), // see DeriveDeviceKey
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s is on %s\n", a.DeviceID, a.Hub)
	a.Device.Methods = func(_ context.Context, c causeway.Call) (causeway.Result, error) {
		return causeway.Result{Status: 200, Payload: c.Payload}, nil
	}
	d, err := client.Connect(ctx, a.Device)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
}

// Many messages are under way at once; Flush waits for the last.
func ExampleDevice_SendAsync() {
	ctx := context.Background()
	d, err := client.Connect(ctx, client.DeviceOptions{ConnectionString: os.Getenv("DEVICE_CONNECTION_STRING"), InFlight: 50})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	for i := range 1000 {
		m := &causeway.Message{Body: fmt.Appendf(nil, `{"n":%d}`, i)}
		err := d.SendAsync(ctx, m, func(err error) {
			if err != nil {
				log.Printf("message %d: %v", i, err)
			}
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := d.Flush(ctx); err != nil {
		log.Fatal(err)
	}
}

// A back end registers a device and calls a method of it.
func ExampleService() {
	ctx := context.Background()
	s, err := client.NewService(os.Getenv("SERVICE_CONNECTION_STRING"), client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	d, err := s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: "pump-7", Status: "enabled"})
	if causeway.CodeOf(err) == causeway.DeviceAlreadyExists {
		d, err = s.Device(ctx, "pump-7")
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.ConnectionString(s.Host(), d.DeviceID, "", d.Authentication))

	res, err := s.Invoke(ctx, "pump-7", "", client.MethodCall{Name: "reboot", Payload: []byte(`{"delay":5}`)})
	switch {
	case causeway.CodeOf(err) == causeway.DeviceNotOnline:
		fmt.Println("not now")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(res.Status, string(res.Payload))
	}
}

// What a device is configured with, from its identity.
func ExampleConnectionString() {
	auth := &client.Authentication{Type: "sas", SymmetricKey: &client.SymmetricKey{PrimaryKey: "c2VjcmV0"}}
	fmt.Println(client.ConnectionString("hub.example.com", "pump-7", "", auth))
	// Output: HostName=hub.example.com;DeviceId=pump-7;SharedAccessKey=c2VjcmV0
}

// A gateway connects many devices over few connections.
func ExamplePool() {
	ctx := context.Background()
	pool := client.NewPool(client.PoolOptions{})
	for _, cs := range []string{os.Getenv("DEVICE_1"), os.Getenv("DEVICE_2")} {
		d, err := client.Connect(ctx, client.DeviceOptions{ConnectionString: cs, Pool: pool})
		if err != nil {
			log.Fatal(err)
		}
		defer d.Close() // the last one closes the connection
		if err := d.Send(ctx, &causeway.Message{Body: []byte(`{"temperature":21.5}`)}); err != nil {
			log.Fatal(err)
		}
	}
}

// A back end sends a command and hears what became of it.
func ExampleMessaging() {
	ctx := context.Background()
	m, err := client.NewMessaging(client.MessagingOptions{ConnectionString: os.Getenv("SERVICE_CONNECTION_STRING")})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	feedback, err := m.Feedback(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer feedback.Close()

	err = m.SendCommand(ctx, "pump-7", "", &causeway.Message{ID: "open-1", Body: []byte("open"), Ack: causeway.AckFull})
	if causeway.CodeOf(err) == causeway.DeviceMaximumQueueDepthExceeded {
		log.Fatal("the device has too many commands already")
	}
	if err != nil {
		log.Fatal(err)
	}
	batch, err := feedback.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range batch.Records {
		fmt.Println(r.Device, r.MessageID, r.Status)
	}
	if err := batch.Complete(); err != nil {
		log.Print(err) // the batch will come again
	}
}

// All partitions, from now on.
func ExampleEvents_Consume() {
	e, err := client.NewEvents(client.EventsOptions{ConnectionString: os.Getenv("EVENTS_CONNECTION_STRING")})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	o := client.ConsumeOptions{Reader: client.ReaderOptions{From: client.Latest()}}
	err = e.Consume(context.Background(), o, func(_ context.Context, events []client.PartitionEvent) error {
		for i := range events {
			x := &events[i]
			fmt.Printf("%s/%d %s: %s\n", x.Partition, x.Sequence, x.Message.From, x.Message.Body)
		}
		return nil
	})
	log.Fatal(err)
}

// A back end admits a device, and sees what became of it.
func ExampleEnrollments() {
	ctx := context.Background()
	c, err := client.NewEnrollments(os.Getenv("DPS_CONNECTION_STRING"), client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	made, err := c.Create(ctx, client.Enrollment{
		RegistrationID: "press-7", Attestation: client.EnrollmentAttestation{Type: "symmetricKey"},
		InitialTwin: &client.InitialTwin{Tags: []byte(`{"line":7}`)},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the device needs the key", made.Attestation.SymmetricKey.PrimaryKey)

	// Later.
	r, err := c.Registration(ctx, "press-7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Status, r.Hub, r.DeviceID)
}
