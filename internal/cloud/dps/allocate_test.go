package dps_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// TestHashed spreads devices by weight, and moves only those it must when a hub
// comes.
func TestHashed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		key := w.put(dps.Enrollment{ID: "g", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}}).Attestation.Keys.Primary
		links := func(l ...dps.Link) {
			t.Helper()
			_, err := w.Change(t.Context(), "dps", func(i *dps.Instance) error { i.Links = l; return nil })
			ok(t, err)
		}
		const devices = 400
		where := func() (at map[string]string, n map[string]int) {
			at, n = map[string]string{}, map[string]int{}
			for i := range devices {
				id := fmt.Sprint("d", i)
				op := w.register(w.request(id, w.derived(key, id)))
				at[id] = op.Hub
				n[op.Hub]++
			}
			return at, n
		}
		links(dps.Link{Host: "h1", Weight: 3}, dps.Link{Host: "h2"}, dps.Link{Host: "h3", Excluded: true})
		before, n := where()
		if n["h1"] < 250 || n["h1"] > 350 || n["h3"] != 0 || n["h1"]+n["h2"] != devices {
			t.Errorf("3 to 1 is %v", n)
		}
		links(dps.Link{Host: "h1", Weight: 3}, dps.Link{Host: "h2"}, dps.Link{Host: "h3"})
		after, n := where()
		if n["h3"] < 40 || n["h3"] > 130 {
			t.Errorf("3 to 1 to 1 is %v", n)
		}
		for id, h := range after {
			if h != before[id] && h != "h3" {
				t.Errorf("%s moved from %s to %s", id, before[id], h)
			}
		}
		links()
		op := w.register(w.request("new", w.derived(key, "new")))
		if op.Status != "failed" || op.Code != dps.FailedNoHub {
			t.Errorf("without a hub: %+v", op)
		}
	})
}

// TestReprovision moves a device, by each policy.
func TestReprovision(t *testing.T) {
	for name, c := range map[string]struct {
		policy               dps.Reprovision
		hub, substatus, tags string
		back                 string // substatus when it returns to the first hub
	}{
		"migrate": {dps.Reprovision{Migrate: true}, "h2", "deviceDataMigrated", `{"grown":1}`, "deviceDataMigrated"},
		"reset":   {dps.Reprovision{}, "h2", "deviceDataReset", `{"first":1}`, "reprovisionedToInitialAssignment"},
		"never":   {dps.Reprovision{Keep: true}, "h1", "initialAssignment", `{"grown":1}`, "initialAssignment"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				e := keyEnrollment("d")
				e.Allocation, e.Hubs, e.Reprovision = dps.Static, []string{"h1"}, c.policy
				e.InitialTwin.Tags = raw(`{"first":1}`)
				e = w.put(e)
				r := w.request("d", e.Attestation.Keys.Primary)
				w.assigned(r, "h1", "d", "initialAssignment")
				d, _ := w.hubs["h1"].device("d")
				d.Tags, d.Reported = raw(`{"grown":1}`), raw(`{"r":1}`)
				w.hubs["h1"].set(func() { w.hubs["h1"].devices["d"] = d })
				w.assigned(r, "h1", "d", "initialAssignment") // again, to the same
				if d, _ := w.hubs["h1"].device("d"); string(d.Tags) != `{"grown":1}` {
					t.Errorf("the twin is %s after it registered again", d.Tags)
				}
				e.Hubs = []string{"h2"}
				w.put(e)
				w.assigned(r, c.hub, "d", c.substatus)
				if d, _ := w.hubs[c.hub].device("d"); string(d.Tags) != c.tags || (c.policy.Migrate && string(d.Reported) != `{"r":1}`) {
					t.Errorf("twin %s %s", d.Tags, d.Reported)
				}
				e.Hubs = []string{"h1"}
				w.put(e)
				w.assigned(r, "h1", "d", c.back)
				// Its identity was deleted by hand.
				ok(t, w.hubs["h1"].Delete(t.Context(), "d"))
				w.assigned(r, "h1", "d", c.back)
				if d, _ := w.hubs["h1"].device("d"); string(d.Tags) != `{"first":1}` {
					t.Errorf("made again, the twin is %s", d.Tags)
				}
				// The record is deleted: it begins anew.
				ok(t, w.DeleteRegistration(t.Context(), "dps", "D", ""))
				w.assigned(r, "h1", "d", "initialAssignment")
			})
		})
	}
}

func TestCustom(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := dps.Enrollment{
			ID: "g", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}, Allocation: dps.Custom, Hubs: []string{"h1", "h3"},
			Webhook: dps.Webhook{URL: "https://hook/f", APIVersion: "2021-10-01"}, InitialTwin: dps.InitialTwin{Tags: raw(`{"of":"enrollment"}`)},
			Reprovision: dps.Reprovision{Migrate: true},
		}
		e = w.put(e)
		r := w.request("d", w.derived(e.Attestation.Keys.Primary, "d"))
		for _, payload := range []string{`{"model":"x"}`, `"text"`, `7`, `null`, ""} {
			r.Payload = []byte(payload)
			w.hook.say(200, `{"iotHubHostName":"H3","payload":{"say":1},"initialTwin":{"tags":{"of":"hook"},"properties":{"desired":{"d":1}}}}`, nil)
			op := w.assigned(r, "h3", "d", "initialAssignment")
			if string(op.Payload) != `{"say":1}` {
				t.Errorf("payload %s", op.Payload)
			}
			var asked struct {
				Group      map[string]any `json:"enrollmentGroup"`
				Individual any            `json:"individualEnrollment"`
				Runtime    struct {
					ID      string          `json:"registrationId"`
					Key     *struct{}       `json:"symmetricKey"`
					Payload json.RawMessage `json:"payload"`
				} `json:"deviceRuntimeContext"`
				Hubs []string `json:"linkedHubs"`
			}
			url, body, _ := strings.Cut(w.hook.questions()[len(w.hook.questions())-1], " ")
			ok(t, json.Unmarshal([]byte(body), &asked))
			if url != "https://hook/f" || asked.Group["enrollmentGroupId"] != "g" || asked.Individual != nil || asked.Runtime.ID != "d" || asked.Runtime.Key == nil ||
				string(asked.Runtime.Payload) != payload || fmt.Sprint(asked.Hubs) != "[h1 h3]" || strings.Contains(body, string(e.Attestation.Keys.Primary)) {
				t.Errorf("asked %s: %s", url, body)
			}
		}
		if d, _ := w.hubs["h3"].device("d"); string(d.Tags) != `{"of":"hook"}` || string(d.Desired) != `{"d":1}` {
			t.Errorf("twin %s %s", d.Tags, d.Desired)
		}
		// A twin of the webhook wins over the one of the other hub.
		w.hook.say(200, `{"iotHubHostName":"h1","initialTwin":{"tags":{"of":"hook again"}}}`, nil)
		w.assigned(r, "h1", "d", "deviceDataReset")
		if d, _ := w.hubs["h1"].device("d"); string(d.Tags) != `{"of":"hook again"}` {
			t.Errorf("twin %s", d.Tags)
		}
		w.hook.say(200, `{"iotHubHostName":"h3"}`, nil)
		w.assigned(r, "h3", "d", "deviceDataMigrated")

		for what, c := range map[string]struct {
			status int
			answer string
			err    error
			want   string
		}{
			"400":               {400, "", nil, "Custom allocation failed with status code: 400"},
			"a redirect":        {302, "", nil, "status code: 302"},
			"unreachable":       {0, "", errors.New("secret address"), "cannot be called"},
			"not JSON":          {200, "<html>", nil, "JSON object"},
			"nothing":           {200, "", nil, "JSON object"},
			"null":              {200, "null", nil, `the hub ""`},
			"a hub not linked":  {200, `{"iotHubHostName":"h2"}`, nil, `"h2"`},
			"a bad twin":        {200, `{"iotHubHostName":"h1","initialTwin":{"tags":{"a.b":1}}}`, nil, `"a.b"`},
			"a huge payload":    {200, `{"iotHubHostName":"h1","payload":"` + strings.Repeat("x", dps.MaxPayload) + `"}`, nil, "payload"},
			"a huge twin":       {200, `{"iotHubHostName":"h1","initialTwin":{"tags":{"a":"` + strings.Repeat("x", dps.MaxTwin) + `"}}}`, nil, "initialTwin"},
			"an endless answer": {200, `{"iotHubHostName":"` + strings.Repeat("x", 1<<20), nil, "JSON object"},
		} {
			w.hook.say(c.status, c.answer, c.err)
			op := w.register(r)
			if op.Status != "failed" || op.Code != dps.FailedAllocation || !strings.Contains(op.Message, c.want) || strings.Contains(op.Message, "secret") || len(op.Message) > 500 {
				t.Errorf("%s: %+v", what, op)
			}
		}
		if _, there := w.hubs["h3"].device("d"); !there {
			t.Error("a device loses its hub when it cannot be assigned anew")
		}
	})
}

// TestChoiceOutlivesRestart stops the service after the webhook has chosen: it is
// not asked again, or the device might end up on two hubs.
func TestChoiceOutlivesRestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := keyEnrollment("d")
		e.Allocation, e.Webhook = dps.Custom, dps.Webhook{URL: "https://hook/f", APIVersion: "1"}
		r := w.request("d", w.put(e).Attestation.Keys.Primary)
		w.hook.say(200, `{"iotHubHostName":"h1","payload":1}`, nil)
		h := w.hubs["h1"]
		h.set(func() { h.stall = make(chan struct{}) })
		op, err := w.Register(t.Context(), r)
		ok(t, err)
		for len(w.hook.questions()) == 0 || func() bool {
			reg, err := w.store.Registration(t.Context(), "dps", "d")
			return err != nil || reg.Pending.Chosen.Hub == ""
		}() {
			wait()
		}
		w.stop()
		w.hook.say(200, `{"iotHubHostName":"h2"}`, nil)
		h.set(func() { h.stall = nil })
		w.start()
		if got := w.wait(r, op.ID); got.Hub != "h1" || string(got.Payload) != "1" || len(w.hook.questions()) != 1 {
			t.Errorf("%+v after %d questions", got, len(w.hook.questions()))
		}
	})
}

func TestDeletedMeanwhile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := keyEnrollment("d")
		e.Allocation, e.Hubs = dps.Static, []string{"h1"}
		r := w.request("d", w.put(e).Attestation.Keys.Primary)
		h := w.hubs["h1"]
		stall := make(chan struct{})
		h.set(func() { h.stall = stall })
		_, err := w.Register(t.Context(), r)
		ok(t, err)
		wait()
		ok(t, w.DeleteRegistration(t.Context(), "dps", "d", ""))
		again, err := w.Register(t.Context(), r)
		ok(t, err)
		h.mu.Lock()
		h.stall = nil
		h.mu.Unlock()
		close(stall)
		if op := w.wait(r, again.ID); op.Status != "assigned" {
			t.Errorf("%+v", op)
		}
	})
}

func TestEnrollmentChecks(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		sym := dps.Attestation{Kind: dps.SymmetricKey}
		for what, c := range map[string]struct {
			e    dps.Enrollment
			want string
		}{
			"no id":               {dps.Enrollment{Attestation: sym}, "registrationId"},
			"a bad group id":      {dps.Enrollment{ID: "a b", Group: true, Attestation: sym}, "enrollmentGroupId"},
			"a device of a group": {dps.Enrollment{ID: "a", Group: true, DeviceID: "d", Attestation: sym}, "deviceId"},
			"a bad device id":     {dps.Enrollment{ID: "a", DeviceID: "a/b", Attestation: sym}, `deviceId "a/b"`},
			"no attestation":      {dps.Enrollment{ID: "a"}, `attestation.type ""`},
			"none":                {dps.Enrollment{ID: "a", Attestation: dps.Attestation{Kind: "none"}}, `attestation.type "none"`},
			"a TPM of a group":    {dps.Enrollment{ID: "a", Group: true, Attestation: dps.Attestation{Kind: dps.TPM}}, "single devices"},
			"no endorsement key":  {dps.Enrollment{ID: "a", Attestation: dps.Attestation{Kind: dps.TPM}}, "endorsementKey"},
			"a short key":         {dps.Enrollment{ID: "a", Attestation: dps.Attestation{Kind: dps.SymmetricKey, Keys: keysOf("AAAA", "AAAA")}}, "16 to 64 bytes"},
			"one key":             {dps.Enrollment{ID: "a", Attestation: dps.Attestation{Kind: dps.SymmetricKey, Keys: keysOf("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "")}}, "secondaryKey"},
			"no certificate":      {dps.Enrollment{ID: "a", Attestation: dps.Attestation{Kind: dps.X509}}, "neither clientCertificates"},
			"only a secondary":    {dps.Enrollment{ID: "a", Attestation: dps.Attestation{Kind: dps.X509, Secondary: []byte{1}}}, "primary certificate"},
			"both":                {dps.Enrollment{ID: "a", Attestation: dps.Attestation{Kind: dps.X509, Primary: []byte{1}, PrimaryAuthority: "x"}}, "one of them"},
			"not a CA":            {dps.Enrollment{ID: "a", Group: true, Attestation: dps.Attestation{Kind: dps.X509, Primary: []byte{1}}}, "signingCertificates"},
			"an unlinked hub":     {dps.Enrollment{ID: "a", Attestation: sym, Hubs: []string{"h9"}}, `"h9"`},
			"static, no hub":      {dps.Enrollment{ID: "a", Attestation: sym, Allocation: dps.Static}, "exactly one"},
			"an odd policy":       {dps.Enrollment{ID: "a", Attestation: sym, Allocation: "best"}, `"best"`},
			"custom, no webhook":  {dps.Enrollment{ID: "a", Attestation: sym, Allocation: dps.Custom}, "webhookUrl"},
			"a file":              {dps.Enrollment{ID: "a", Attestation: sym, Allocation: dps.Custom, Webhook: dps.Webhook{URL: "file:///etc/passwd", APIVersion: "1"}}, "webhookUrl"},
			"a webhook, hashed":   {dps.Enrollment{ID: "a", Attestation: sym, Webhook: dps.Webhook{URL: "https://x", APIVersion: "1"}}, "allocationPolicy custom"},
			"a bad twin":          {dps.Enrollment{ID: "a", Attestation: sym, InitialTwin: dps.InitialTwin{Tags: raw(`[]`)}}, "initialTwin.tags"},
			"bad information":     {dps.Enrollment{ID: "a", Attestation: sym, Information: raw(`7`)}, "optionalDeviceInformation"},
		} {
			_, err := w.PutEnrollment(t.Context(), "dps", c.e, "")
			w.refused(what, err, dps.CodeInvalid, c.want)
		}
		_, err := w.PutEnrollment(t.Context(), "other", keyEnrollment("a"), "")
		w.refused("another service", err, dps.CodeNotFound, "other")

		e := w.put(keyEnrollment("Dev"))
		again := keyEnrollment("dev")
		again.Edge = true
		got := w.put(again) // keys that are not given stay, and so does the spelling
		if got.ID != "Dev" || got.Attestation.Keys != e.Attestation.Keys || !got.Edge || !got.Created.Equal(e.Created) || got.ETag == e.ETag {
			t.Errorf("put again: %+v", got)
		}
		_, err = w.PutEnrollment(t.Context(), "dps", again, e.ETag)
		w.refused("an old etag", err, dps.CodePrecondition, "changed")
		_, err = w.PutEnrollment(t.Context(), "dps", keyEnrollment("new"), "*")
		w.refused("one that must exist", err, dps.CodePrecondition, "does not exist")
		_, err = w.PutEnrollment(t.Context(), "dps", dps.Enrollment{ID: "dev", Attestation: dps.Attestation{Kind: dps.X509}}, "")
		w.refused("another kind", err, dps.CodeInvalid, "cannot change")
		err = w.DeleteEnrollment(t.Context(), "dps", false, "dev", e.ETag)
		w.refused("delete by an old etag", err, dps.CodePrecondition, "")
		list, err := w.Enrollments(t.Context(), "dps", false, "", 0)
		if err != nil || len(list) != 1 || list[0].Attestation.Keys != keysOf("", "") {
			t.Errorf("list %+v, %v", list, err)
		}
		ok(t, w.DeleteEnrollment(t.Context(), "dps", false, "DEV", got.ETag))
		_, err = w.Enrollment(t.Context(), "dps", false, "dev")
		w.refused("deleted", err, dps.CodeEnrollmentNotFound, "")
	})
}

// TestJSON writes enrollments in the words of the API and reads them again.
func TestJSON(t *testing.T) {
	for _, text := range []string{
		`{"registrationId":"a","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"AA==","secondaryKey":"AQ=="}},"deviceId":"d","capabilities":{"iotEdge":true},"provisioningStatus":"disabled","reprovisionPolicy":{"updateHubAssignment":false,"migrateDeviceData":true},"allocationPolicy":"custom","iotHubs":["h"],"customAllocationDefinition":{"webhookUrl":"https://x","apiVersion":"1"},"initialTwin":{"tags":{"a":1},"properties":{"desired":{}}},"optionalDeviceInformation":{"x":1},"etag":"x"}`,
		`{"registrationId":"a","attestation":{"type":"tpm","tpm":{"endorsementKey":"AAE="}}}`,
	} {
		var in dps.EnrollmentJSON
		ok(t, json.Unmarshal([]byte(text), &in))
		e, err := in.Enrollment(false)
		ok(t, err)
		b, err := json.Marshal(dps.JSONOf(&e, true))
		ok(t, err)
		var out dps.EnrollmentJSON
		ok(t, json.Unmarshal(b, &out))
		again, err := out.Enrollment(false)
		ok(t, err)
		if fmt.Sprintf("%+v", e) != fmt.Sprintf("%+v", again) {
			t.Errorf("%s\nis read as %+v\nand again as %+v", text, e, again)
		}
		hidden, err := json.Marshal(dps.JSONOf(&e, false))
		if err != nil || strings.Contains(string(hidden), "primaryKey") {
			t.Errorf("without keys: %s", hidden)
		}
	}
	var old dps.EnrollmentJSON
	ok(t, json.Unmarshal([]byte(`{"registrationId":"a","iotHubHostName":"h","attestation":{"type":"SymmetricKey"},"createdDateTimeUtc":"yesterday"}`), &old))
	e, err := old.Enrollment(false)
	if err != nil || e.Allocation != dps.Static || len(e.Hubs) != 1 || !e.Migrate || e.Keep {
		t.Errorf("an older client's: %+v, %v", e, err)
	}
	for text, want := range map[string]string{
		`{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"certificate":"x"}}}}}`:  "signingCertificates does not fit",
		`{"attestation":{"type":"x509","x509":{"clientCertificates":{"secondary":{"certificate":"x"}}}}}`: "clientCertificates.secondary",
		`{"attestation":{"type":"tpm","tpm":{"endorsementKey":"?"}}}`:                                     "endorsementKey",
		`{"provisioningStatus":"maybe","attestation":{"type":"symmetricKey"}}`:                            `"maybe"`,
	} {
		var j dps.EnrollmentJSON
		ok(t, json.Unmarshal([]byte(text), &j))
		if _, err := j.Enrollment(false); err == nil || !strings.Contains(causeway.MessageOf(err), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestSlowWebhook has more devices wait for a webhook than are assigned at the same
// time. Others do not wait with them.
func TestSlowWebhook(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g := w.put(dps.Enrollment{
			ID: "slow", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}, Allocation: dps.Custom,
			Webhook: dps.Webhook{URL: "https://slow.example", APIVersion: "2021-10-01"},
		})
		key := g.Attestation.Keys.Primary
		stall := make(chan struct{})
		w.hook.stall, w.hook.answer = stall, `{"iotHubHostName":"h1"}`
		operations := map[string]string{}
		for i := range 2 * dps.OperationsAtOnce {
			id := fmt.Sprint("slow-", i)
			op, err := w.Register(t.Context(), w.request(id, w.derived(key, id)))
			ok(t, err)
			operations[id] = op.ID
		}
		wait()
		quick := w.request("quick", w.put(keyEnrollment("quick")).Attestation.Keys.Primary)
		began := time.Now()
		w.assigned(quick, "", "quick", "initialAssignment")
		if took := time.Since(began); took > 2*dps.RetryAfter {
			t.Errorf("a device that asks no webhook waits for %v", took)
		}
		w.stop() // and what waits for webhooks goes on after the next start
		w.start()
		close(stall)
		for id, operation := range operations {
			if op := w.wait(w.request(id, w.derived(key, id)), operation); op.Status != "assigned" || op.Hub != "h1" {
				t.Fatalf("%s: %+v", id, op)
			}
		}
	})
}
