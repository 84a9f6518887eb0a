package dps_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

func (w *world) decisions(q dps.DecisionQuery) []dps.Decision {
	w.t.Helper()
	synctest.Wait()
	list, err := w.Decisions(w.t.Context(), "dps", q)
	ok(w.t, err)
	return list
}

// TestAudit: who came, by which enrollment, where it went, and why.
func TestAudit(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		device := w.group(dps.Enrollment{})
		r := device("d")
		r.Credential.RemoteAddr, r.Credential.Transport, r.Credential.ClientType = "10.0.0.7:1234", causeway.MQTT, "a client"
		op := w.assigned(r, "", "d", "initialAssignment")
		list := w.decisions(dps.DecisionQuery{})
		if len(list) != 1 {
			t.Fatalf("decisions %+v", list)
		}
		d := list[0]
		if d.Registration != "d" || d.Operation != op.ID || d.Enrollment != "g" || !d.Group || d.Kind != dps.SymmetricKey || d.Transport != "mqtt" ||
			d.Remote != "10.0.0.7:1234" || d.Client != "a client" || d.Outcome != dps.Assigned || d.Hub != op.Hub || d.From != "" || d.DeviceID != "d" ||
			d.Why.Policy != dps.Hashed || d.Why.Reason == "" || len(d.Why.Candidates) != 3 || d.Why.Candidates[0].Weight != 1 || d.Why.Candidates[0].Latency != -1 {
			t.Errorf("assigned: %+v", d)
		}

		w.hook.say(500, "", nil)
		e := w.put(dps.Enrollment{ID: "own", Allocation: dps.Custom, Webhook: dps.Webhook{URL: "https://example.com/f", APIVersion: "2021-10-01"}, Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		w.register(w.request("own", e.Attestation.Keys.Primary))
		if d = w.decisions(dps.DecisionQuery{Registration: "OWN"})[0]; d.Outcome != dps.Failed || d.Code != dps.FailedAllocation || d.Why.Webhook != 500 || d.Enrollment != "own" || d.Group {
			t.Errorf("failed: %+v", d)
		}
		e.Disabled = true
		_, err := w.PutEnrollment(t.Context(), "dps", e, "")
		ok(t, err)
		w.register(w.request("own", e.Attestation.Keys.Primary))
		if d = w.decisions(dps.DecisionQuery{})[0]; d.Outcome != dps.Disabled || d.Message == "" {
			t.Errorf("disabled: %+v", d)
		}
		_, err = w.Register(t.Context(), w.request("d", e.Attestation.Keys.Primary))
		w.refused("the wrong key", err, dps.CodeUnauthorized, "")
		if d = w.decisions(dps.DecisionQuery{})[0]; d.Outcome != dps.Refused || d.Registration != "d" || !strings.Contains(d.Message, "signature") || d.Code != int(dps.CodeUnauthorized) {
			t.Errorf("refused: %+v", d)
		}
		// None of it holds a secret.
		if text := fmt.Sprintf("%+v", w.decisions(dps.DecisionQuery{})); strings.Contains(text, string(e.Attestation.Keys.Primary)) || strings.Contains(text, "sig=") {
			t.Errorf("decisions %s", text)
		}
		if _, err := w.Decisions(t.Context(), "none", dps.DecisionQuery{}); causeway.CodeOf(err) != dps.CodeNotFound {
			t.Errorf("another service: %v", err)
		}
	})
}

// TestAuditIsBounded: who knocks all day does not fill the disk, and what is not on
// record is counted.
func TestAuditIsBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.put(keyEnrollment("d"))
		knock := func(times int) {
			for range times {
				_, err := w.Register(t.Context(), w.request("d", "AAAA"))
				w.refused("a stranger", err, dps.CodeUnauthorized, "")
				synctest.Wait()
			}
		}
		knock(1000)
		n := len(w.decisions(dps.DecisionQuery{Limit: dps.MaxPage}))
		if n < 100 || n > 130 {
			t.Errorf("%d of 1000 refusals are on record", n)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // simulated time
		knock(1)
		if d := w.decisions(dps.DecisionQuery{})[0]; d.Skipped != 1000-n {
			t.Errorf("%d were skipped, want %d", d.Skipped, 1000-n)
		}
		// What is old is forgotten.
		time.Sleep(dps.DecisionAge + time.Hour) //nolint:forbidigo // simulated time
		if list := w.decisions(dps.DecisionQuery{}); len(list) != 0 {
			t.Errorf("%d decisions are left", len(list))
		}
	})
}
