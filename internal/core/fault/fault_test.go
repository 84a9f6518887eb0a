package fault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/fault"
)

func message(kv ...string) *causeway.Message {
	m := &causeway.Message{}
	for i := 0; i+1 < len(kv); i += 2 {
		m.Properties = append(m.Properties, causeway.Property{Key: kv[i], Value: kv[i+1]})
	}
	return m
}

func TestOf(t *testing.T) {
	if _, ok, err := fault.Of(message("a", "b")); ok || err != nil {
		t.Errorf("an ordinary message: %v %v", ok, err)
	}
	f, ok, err := fault.Of(message("AzIoTHub_FaultOperationType", "KillTcp", "AzIoTHub_FaultOperationCloseReason", "boom",
		"AzIoTHub_FaultOperationDelayInSecs", "2", "AzIoTHub_FaultOperationDurationInSecs", "7"))
	if want := (fault.Fault{Kind: fault.KillTCP, Reason: "boom", Delay: 2 * time.Second, Duration: 7 * time.Second}); !ok || err != nil || f != want {
		t.Errorf("%+v %v %v", f, ok, err)
	}
	// Over HTTPS names arrive in lower case.
	f, ok, err = fault.Of(message("aziothub_faultoperationtype", "InvokeThrottling"))
	if !ok || err != nil || f.Duration != fault.DefaultDuration || f.Kind.Code() != causeway.ThrottlingException {
		t.Errorf("%+v %v %v", f, ok, err)
	}
	for name, m := range map[string]*causeway.Message{
		"unknown kind":      message("AzIoTHub_FaultOperationType", "Explode"),
		"delay in words":    message("AzIoTHub_FaultOperationType", "KillTcp", "AzIoTHub_FaultOperationDelayInSecs", "soon"),
		"negative delay":    message("AzIoTHub_FaultOperationType", "KillTcp", "AzIoTHub_FaultOperationDelayInSecs", "-1"),
		"delay too long":    message("AzIoTHub_FaultOperationType", "KillTcp", "AzIoTHub_FaultOperationDelayInSecs", "301"),
		"duration too long": message("AzIoTHub_FaultOperationType", "InvokeThrottling", "AzIoTHub_FaultOperationDurationInSecs", "601"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, ok, err := fault.Of(m); !ok || causeway.CodeOf(err) != causeway.ArgumentInvalid || !strings.Contains(err.Error(), "AzIoTHub_") {
				t.Errorf("%v %v", ok, err)
			}
		})
	}
}

func TestFits(t *testing.T) {
	for _, k := range fault.Kinds() {
		for tr, want := range map[causeway.Transport]bool{
			causeway.HTTPS: k.Lasts(), causeway.MQTT: k.Lasts() || k == fault.KillTCP || k == fault.ShutDownMQTT,
			causeway.MQTTWS: k.Lasts() || k == fault.KillTCP || k == fault.ShutDownMQTT, causeway.AMQP: k != fault.ShutDownMQTT, causeway.AMQPWS: k != fault.ShutDownMQTT,
		} {
			if got := k.Fits(tr); got != want {
				t.Errorf("%s over %s: %v", k, tr, got)
			}
		}
	}
}

// FuzzOf: no message makes a fault beyond the bounds.
func FuzzOf(f *testing.F) {
	f.Add("KillTcp", "boom", "1", "5")
	f.Add("InvokeAuthError", "", "-1", "99999999999999999999")
	f.Fuzz(func(t *testing.T, kind, reason, delay, duration string) {
		got, ok, err := fault.Of(message("AzIoTHub_FaultOperationType", kind, "AzIoTHub_FaultOperationCloseReason", reason,
			"AzIoTHub_FaultOperationDelayInSecs", delay, "AzIoTHub_FaultOperationDurationInSecs", duration))
		if !ok {
			t.Fatal("not seen")
		}
		if err == nil && (got.Delay < 0 || got.Delay > fault.MaxDelay || got.Duration < 0 || got.Duration > fault.MaxDuration || len(got.Reason) > len(reason)) {
			t.Fatalf("%+v", got)
		}
	})
}
