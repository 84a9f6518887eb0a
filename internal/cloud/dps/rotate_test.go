package dps_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// TestRotateCertificate changes one certificate of an enrollment as clients do:
// they read it, and send what they read with something else in one place. Of the
// other certificate they have a description alone, and it stays.
func TestRotateCertificate(t *testing.T) {
	first := chainOf(t, must(pki.SelfSigned("d", time.Hour)), nil)[0].Raw
	second := chainOf(t, must(pki.SelfSigned("d", time.Hour)), nil)[0].Raw
	text := func(der []byte) any {
		return map[string]any{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
	}
	inWorld(t, func(t *testing.T, w *world) {
		w.put(dps.Enrollment{ID: "d", Attestation: dps.Attestation{Kind: dps.X509, Primary: first}})
		send := func(what string, change func(pair map[string]any), primary, secondary []byte) {
			t.Helper()
			e, err := w.Enrollment(t.Context(), "dps", false, "d")
			ok(t, err)
			b, err := json.Marshal(dps.JSONOf(&e, false))
			ok(t, err)
			var read map[string]any
			ok(t, json.Unmarshal(b, &read))
			change(read["attestation"].(map[string]any)["x509"].(map[string]any)["clientCertificates"].(map[string]any))
			b, err = json.Marshal(read)
			ok(t, err)
			var j dps.EnrollmentJSON
			ok(t, json.Unmarshal(b, &j))
			sent, err := j.Enrollment(false)
			ok(t, err)
			a := w.put(sent).Attestation
			if !bytes.Equal(a.Primary, primary) || !bytes.Equal(a.Secondary, secondary) || a.KeepPrimary || a.KeepSecondary {
				t.Errorf("%s: primary %t, secondary %t, %v %v", what, bytes.Equal(a.Primary, primary), bytes.Equal(a.Secondary, secondary), a.KeepPrimary, a.KeepSecondary)
			}
		}
		send("as it is", func(map[string]any) {}, first, nil)
		send("one more", func(p map[string]any) { p["secondary"] = text(second) }, first, second)
		send("both as they are", func(map[string]any) {}, first, second)
		send("the first removed", func(p map[string]any) { delete(p, "primary") }, second, nil)
		send("one more", func(p map[string]any) { p["secondary"] = text(first) }, second, first)
		send("the second removed", func(p map[string]any) { p["secondary"] = nil }, second, nil)
		send("another", func(p map[string]any) { p["primary"] = text(first) }, first, nil)
		_, err := w.PutEnrollment(t.Context(), "dps", dps.Enrollment{ID: "new", Attestation: dps.Attestation{Kind: dps.X509, KeepPrimary: true}}, "")
		w.refused("described only, and new", err, dps.CodeInvalid, "neither clientCertificates nor caReferences")
	})
}

// TestCreateOnce has many make the same enrollment at once: one of them does, and
// nobody replaces its keys.
func TestCreateOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for _, group := range []bool{false, true} {
			const n = 20
			made := make(chan dps.Enrollment, n)
			for range n {
				go func() {
					e := keyEnrollment("once")
					e.Group = group
					e, err := w.CreateEnrollment(t.Context(), "dps", e)
					if err != nil {
						w.refused("made already", err, dps.CodeConflict, `"once" exists already`)
						e = dps.Enrollment{}
					}
					made <- e
				}()
			}
			var winner dps.Enrollment
			for range n {
				if e := <-made; e.ID != "" {
					if winner.ID != "" {
						t.Error("two have made it")
					}
					winner = e
				}
			}
			is, err := w.Enrollment(t.Context(), "dps", group, "once")
			if ok(t, err); winner.ID == "" || is.Attestation.Keys != winner.Attestation.Keys {
				t.Errorf("made %q, and it has other keys than were answered: %t", winner.ID, is.Attestation.Keys != winner.Attestation.Keys)
			}
		}
	})
}
