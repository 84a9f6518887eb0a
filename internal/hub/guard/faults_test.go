package guard_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/fault"
	"github.com/causeway-iot/causeway/internal/hub/guard"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
)

func TestFaultsContract(t *testing.T) {
	hubtest.Run(t, func(t *testing.T) (causeway.Hub, hubtest.Admin) {
		f := newFake(t)
		return guard.Faults(f), f
	})
}

// breakable is a client whose connection can be broken.
type breakable struct {
	*hubtest.Recorder
	mu     sync.Mutex
	broken []fault.Kind
}

func (b *breakable) Break(k fault.Kind, _ string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = append(b.broken, k)
}

func (b *breakable) got() []fault.Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.broken)
}

func asking(k fault.Kind, more ...string) causeway.Message {
	m := causeway.Message{Properties: []causeway.Property{{Key: "AzIoTHub_FaultOperationType", Value: string(k)}}}
	for i := 0; i+1 < len(more); i += 2 {
		m.Properties = append(m.Properties, causeway.Property{Key: "AzIoTHub_FaultOperation" + more[i], Value: more[i+1]})
	}
	return m
}

// TestFaults: a fault happens after its delay, and its message is not stored; the
// other messages of the batch are.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := hubtest.NewFake("plant.example")
		defer f.Close()
		hub := guard.Faults(f)
		dev := &breakable{Recorder: hubtest.NewRecorder()}
		cred := f.Add(t, "d", "")
		cred.Transport = causeway.AMQP
		s, err := hub.Connect(t.Context(), cred, dev)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(nil)
		stored := 0
		if err := s.Send(t.Context(), causeway.Message{ID: "1"}, asking(fault.KillSession, "DelayInSecs", "2"), causeway.Message{ID: "2"}); err != nil {
			t.Fatal(err)
		}
		for _, m := range f.Telemetry(t, "d") {
			stored++
			if len(m.Properties) > 0 {
				t.Errorf("stored %+v", m)
			}
		}
		if stored != 2 {
			t.Errorf("%d messages stored", stored)
		}
		<-time.After(1900 * time.Millisecond)
		if len(dev.got()) != 0 {
			t.Error("broken too early")
		}
		<-time.After(200 * time.Millisecond)
		synctest.Wait()
		if got := dev.got(); len(got) != 1 || got[0] != fault.KillSession {
			t.Errorf("broken %v", got)
		}
		hubtest.WantCode(t, s.Send(t.Context(), asking(fault.ShutDownMQTT)), causeway.ArgumentInvalid)
		hubtest.WantCode(t, s.Send(t.Context(), asking("Explode")), causeway.ArgumentInvalid)
		for range 16 {
			if err := s.Send(t.Context(), asking(fault.KillTCP, "DelayInSecs", "300")); err != nil {
				t.Fatal(err)
			}
		}
		hubtest.WantCode(t, s.Send(t.Context(), asking(fault.KillTCP)), causeway.ThrottlingException)
		<-time.After(301 * time.Second)
		synctest.Wait()
	})
}

// TestRefusals: what is invoked lasts for its time, for its identity, over
// connections; over HTTPS it is the answer to the request that asks for it.
func TestRefusals(t *testing.T) {
	for kind, code := range map[fault.Kind]causeway.Code{
		fault.Throttle: causeway.ThrottlingException, fault.Quota: causeway.IotHubQuotaExceeded, fault.AuthFailed: causeway.IotHubUnauthorized,
	} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := hubtest.NewFake("plant.example")
				defer f.Close()
				hub := guard.Faults(f)
				connect := func(cred causeway.Credential, dev causeway.Device) causeway.Session {
					t.Helper()
					s, err := hub.Connect(t.Context(), cred, dev)
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
				cred, other := f.Add(t, "d", ""), f.Add(t, "other", "")
				cred.Transport = causeway.MQTT
				s, o := connect(cred, hubtest.NewRecorder()), connect(other, hubtest.NewRecorder())
				if err := s.Send(t.Context(), asking(kind, "DelayInSecs", "1", "DurationInSecs", "10")); err != nil {
					t.Fatal(err)
				}
				if err := s.Send(t.Context(), causeway.Message{}); err != nil {
					t.Errorf("before its time: %v", err)
				}
				<-time.After(1500 * time.Millisecond)
				hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), code)
				_, err := s.Twin(t.Context())
				hubtest.WantCode(t, err, code)
				_, err = s.Report(t.Context(), causeway.Patch{Properties: []byte(`{}`)})
				hubtest.WantCode(t, err, code)
				if err := o.Send(t.Context(), causeway.Message{}); err != nil {
					t.Errorf("another device: %v", err)
				}
				if _, err := hub.Connect(t.Context(), cred, hubtest.NewRecorder()); (err != nil) != (kind == fault.AuthFailed) {
					t.Errorf("connecting again: %v", err)
				}
				<-time.After(10 * time.Second)
				s = connect(cred, hubtest.NewRecorder())
				if err := s.Send(t.Context(), causeway.Message{}); err != nil {
					t.Errorf("after its time: %v", err)
				}
				https := cred
				https.Transport = causeway.HTTPS
				once := connect(https, nil)
				hubtest.WantCode(t, once.Send(t.Context(), asking(kind)), code)
				if err := once.Send(t.Context(), causeway.Message{}); err != nil {
					t.Errorf("the request after: %v", err)
				}
				hubtest.WantCode(t, once.Send(t.Context(), asking(fault.KillTCP)), causeway.ArgumentInvalid)
			})
		})
	}
}
