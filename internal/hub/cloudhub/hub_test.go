package cloudhub_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestCommandReceivedTooLate: a command that was received for a session that
// ends before it is handed over goes back at once.
func TestCommandReceivedTooLate(t *testing.T) {
	for name, end := range map[string]func(s causeway.Session) error{
		"closed":       func(s causeway.Session) error { return s.Close(nil) },
		"not wanted":   func(s causeway.Session) error { return s.Listen(context.Background(), causeway.LaneDesired) },
		"still wanted": func(causeway.Session) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			cred := c.Add(t, "d1", "")
			c.Enqueue(t, cred.Identity, causeway.Message{Body: []byte("x")})
			r := hubtest.NewRecorder()
			s := connect(t, c, cred, r, 0)
			received := make(chan struct{}, 1)
			c.received = sync.OnceFunc(func() {
				if err := end(s); err != nil {
					t.Error(err)
				}
				received <- struct{}{}
			})
			if err := s.Listen(t.Context(), causeway.LaneCommands); err != nil {
				t.Fatal(err)
			}
			<-received
			if name == "still wanted" {
				r.Message(t)
				return
			}
			r.NoMessage(t)
			next := hubtest.NewRecorder()
			connect(t, c, cred, next, causeway.LaneCommands)
			if m := next.Message(t); string(m.Body) != "x" || m.DeliveryCount != 0 {
				t.Errorf("the next session gets %q with count %d", m.Body, m.DeliveryCount)
			}
		})
	}
}

func TestLogErrors(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	s, r, _ := online(t, c, "d1", 0)
	for _, e := range []struct {
		err  error
		code causeway.Code
		says string
	}{
		{fmt.Errorf("append: %w", eventlog.ErrFull), causeway.ServiceUnavailable, "no space left"},
		{eventlog.ErrClosed, causeway.ServiceUnavailable, "shutting down"},
		{eventlog.ErrTooLarge, causeway.MessageTooLarge, "fewer"},
		{errors.New("input/output error"), causeway.ServiceUnavailable, "could not store"},
	} {
		c.log.setFail(e.err)
		err := s.Send(t.Context(), causeway.Message{Body: []byte("x")})
		hubtest.WantCode(t, err, e.code)
		if msg := causeway.MessageOf(err); !strings.Contains(msg, e.says) || strings.Contains(msg, "input/output") {
			t.Errorf("for %v the client is told %q", e.err, msg)
		}
		if !errors.Is(err, e.err) {
			t.Errorf("%v does not say its cause %v", err, e.err)
		}
	}
	c.log.setFail(nil)
	hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{Body: []byte("y")}), 0)
	r.Alive(t)
	if got := c.Telemetry(t, "d1"); len(got) != 1 || string(got[0].Body) != "y" {
		t.Errorf("stored: %+v", got)
	}
	batch := make([]causeway.Message, cloudhub.MaxBatch+1)
	hubtest.WantCode(t, s.Send(t.Context(), batch...), causeway.MessageTooLarge)
	batch = batch[:cloudhub.MaxBatchBytes/causeway.MaxMessageSize+2]
	for i := range batch {
		batch[i].Body = make([]byte, causeway.MaxMessageSize)
	}
	hubtest.WantCode(t, s.Send(t.Context(), batch...), causeway.MessageTooLarge)
}

func TestPolicyToken(t *testing.T) {
	c := newCloud(t)
	cred := c.Add(t, "d1", "")
	key, err := base64.StdEncoding.DecodeString(string(policies[0].Secondary))
	if err != nil {
		t.Fatal(err)
	}
	cred.Token = causeway.Secret(sas.Sign(hubHost, key, policies[0].Name, time.Now().Add(time.Hour)))
	cred.Host = "ALIAS.example.com:8883"
	s := connect(t, c, cred, hubtest.NewRecorder(), 0)
	if err := s.Send(t.Context(), causeway.Message{}); err != nil {
		t.Fatal(err)
	}
	want := causeway.AuthMethod{Scope: causeway.ScopeHub, Type: "sas"}.JSON()
	if got := c.Telemetry(t, "d1")[0].Auth; got != want {
		t.Errorf("auth method %s, want %s", got, want)
	}
	// Renewed by its own key: later messages say so.
	if err := s.Renew(t.Context(), c.Expiring(t, cred.Identity, time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), causeway.Message{}); err != nil {
		t.Fatal(err)
	}
	want = causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "sas"}.JSON()
	if got := c.Telemetry(t, "d1")[1].Auth; got != want {
		t.Errorf("auth method after renewal %s, want %s", got, want)
	}
}

func TestModelIsStored(t *testing.T) {
	c := newCloud(t)
	cred := c.Add(t, "d1", "")
	for _, model := range []string{"dtmi:com:example:A;1", "dtmi:com:example:B;1", ""} {
		cred.ModelID = model
		connect(t, c, cred, hubtest.NewRecorder(), 0)
		if got := c.record(t, cred.Identity).Twin.ModelID; model != "" && got != model {
			t.Errorf("model is %q, announced %q", got, model)
		}
	}
	version := c.record(t, cred.Identity).Twin.Version
	cred.ModelID = "dtmi:com:example:B;1"
	connect(t, c, cred, hubtest.NewRecorder(), 0)
	if got := c.record(t, cred.Identity).Twin.Version; got != version {
		t.Errorf("announcing the same model changed the twin's version from %d to %d", version, got)
	}
	cred.ModelID = strings.Repeat("m", registry.MaxModelID+1)
	_, err := c.set.Connect(t.Context(), cred, hubtest.NewRecorder())
	hubtest.WantCode(t, err, causeway.ArgumentInvalid)
	if c.Connected(t, cred.Identity) {
		t.Error("a client that was refused for its model is present")
	}
}

func TestModelComesWithARenewal(t *testing.T) {
	c := newCloud(t)
	s, _, cred := online(t, c, "d1", 0)
	cred.ModelID = "dtmi:com:example:A;1"
	if err := s.Renew(t.Context(), cred); err != nil {
		t.Fatal(err)
	}
	cred.ModelID = "" // one that brings none leaves it as it is
	if err := s.Renew(t.Context(), cred); err != nil {
		t.Fatal(err)
	}
	if got := c.record(t, cred.Identity).Twin.ModelID; got != "dtmi:com:example:A;1" {
		t.Errorf("model is %q", got)
	}
}

func TestMetrics(t *testing.T) {
	c := newCloud(t)
	s, r, cred := online(t, c, "d1", causeway.LaneCommands)
	if err := s.Send(t.Context(), causeway.Message{Body: []byte("12345")}, causeway.Message{Body: []byte("678")}); err != nil {
		t.Fatal(err)
	}
	c.Enqueue(t, cred.Identity, causeway.Message{})
	if err := s.Settle(t.Context(), r.Message(t).Lock, causeway.Rejected); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Twin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Report(t.Context(), causeway.Patch{Properties: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	connect(t, c, cred, hubtest.NewRecorder(), causeway.LaneMethods)
	if _, err := c.hub.Invoke(t.Context(), cred.Identity, causeway.Call{Method: "m"}, 0, time.Second); err != nil {
		t.Fatal(err)
	}
	bad := cred
	bad.Identity.Device = "nobody"
	_, err := c.set.Connect(t.Context(), bad, nil)
	hubtest.WantCode(t, err, causeway.IotHubUnauthorized)
	for name, m := range map[string]struct {
		metric prometheus.Metric
		want   float64
	}{
		"telemetry":   {c.metrics.Telemetry, 2},
		"bytes":       {c.metrics.TelemetryBytes, 8},
		"rejected":    {c.metrics.Settled.WithLabelValues("rejected"), 1},
		"accepted":    {c.metrics.Settled.WithLabelValues("accepted"), 0},
		"twin reads":  {c.metrics.TwinReads, 1},
		"reported":    {c.metrics.TwinUpdates.WithLabelValues("reported"), 1},
		"sessions":    {c.metrics.Sessions, 1},
		"takeovers":   {c.metrics.Takeovers, 1},
		"methods":     {c.metrics.Methods.WithLabelValues("ok"), 1},
		"method time": {c.metrics.MethodLatency, 1},
		"refused":     {c.metrics.Refused.WithLabelValues("unknown"), 1},
	} {
		if got := value(t, m.metric); got != m.want {
			t.Errorf("%s is %v, want %v", name, got, m.want)
		}
	}
}

func value(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue() + float64(d.GetHistogram().GetSampleCount())
}

func TestSet(t *testing.T) {
	c := newCloud(t)
	other, err := cloudhub.New(cloudhub.Options{
		Hub:      directory.Hub{Name: "attic", Hosts: []string{"attic.example.com"}},
		Registry: c.registry, Commands: c.commands, Events: newMemLog(1),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.set.Add(other)
	if all := c.set.All(); len(all) != 2 || all[0] != other || all[1] != c.hub {
		t.Errorf("hubs are %v", all)
	}
	for host, want := range map[string]*cloudhub.Hub{
		hubHost: c.hub, "PLANT.Example.com:8883": c.hub, "alias.example.com": c.hub,
		"attic.example.com": other, "example.com": nil, "": nil,
	} {
		if got, ok := c.set.ByHost(host); got != want || ok != (want != nil) {
			t.Errorf("host %q leads to %v", host, got)
		}
	}
	// The same device id on two hubs is two devices.
	s, r, cred := online(t, c, "d1", 0)
	cred.Host = "attic.example.com"
	_, err = c.set.Connect(t.Context(), cred, hubtest.NewRecorder())
	hubtest.WantCode(t, err, causeway.IotHubUnauthorized)
	_, err = c.hub.Connect(t.Context(), cred, hubtest.NewRecorder())
	hubtest.WantCode(t, err, causeway.IotHubNotFound)

	other.SetHub(directory.Hub{Name: "renamed", Hosts: []string{"cellar.example.com"}})
	if _, ok := c.set.ByHost("attic.example.com"); ok {
		t.Error("a host that was taken away still leads to its hub")
	}
	if got, ok := c.set.ByHost("cellar.example.com"); !ok || got.Name() != "attic" {
		t.Errorf("the new host leads to %v", got)
	}
	c.set.Remove("attic")
	if _, ok := c.set.ByName("attic"); ok {
		t.Error("the removed hub is still there")
	}
	c.set.Remove("attic")
	r.Alive(t)
	c.set.Close()
	hubtest.WantCode(t, r.HungUp(t), causeway.ServiceUnavailable)
	hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), causeway.ServiceUnavailable)
	// Messages for hubs that are not here are nobody's.
	elsewhere := causeway.Identity{Hub: "attic", Device: "d1"}
	c.set.Queued(elsewhere)
	c.set.DesiredChanged(t.Context(), elsewhere, causeway.Patch{})
	c.set.IdentityChanged(t.Context(), elsewhere, registry.Deleted)
}

func TestNewRefuses(t *testing.T) {
	c := newCloud(t)
	for _, o := range []cloudhub.Options{
		{Registry: c.registry, Commands: c.commands, Events: c.log},
		{Hub: directory.Hub{Name: "x"}, Commands: c.commands, Events: c.log},
		{Hub: directory.Hub{Name: "x"}, Registry: c.registry, Events: c.log},
		{Hub: directory.Hub{Name: "x"}, Registry: c.registry, Commands: c.commands},
	} {
		if _, err := cloudhub.New(o); err == nil {
			t.Errorf("a hub was made of %+v", o)
		}
	}
}

// TestPartitionIsStable: events of a device must stay in one partition over
// versions of the program.
func TestPartitionIsStable(t *testing.T) {
	for _, c := range []struct {
		device string
		n      int
		want   eventlog.Partition
	}{
		{"", 4, 1}, {"a", 4, 0}, {"foobar", 4, 0}, {"foobar", 32, 8}, {"d1", 1, 0}, {"d1", 0, 0},
	} {
		if got := cloudhub.Partition(c.device, c.n); got != c.want {
			t.Errorf("partition of %q among %d is %d, want %d", c.device, c.n, got, c.want)
		}
	}
	var counts [8]int
	for i := range 8000 {
		counts[cloudhub.Partition(fmt.Sprintf("sensor-%05d", i), len(counts))]++
	}
	for p, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("partition %d has %d of 8000 devices", p, n)
		}
	}
}
