package cloud_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// call asks the service API as a policy and returns status, lock and body.
func (r *running) call(connectionString, method, path string) (int, string, []byte) {
	r.t.Helper()
	cs, err := sas.ParseConnectionString(connectionString)
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := cs.Token(time.Now().Add(time.Hour))
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, fmt.Sprintf("https://localhost:%d%s?api-version=2021-04-12", r.Connection().HTTPSPort, path), http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", token)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.options().RootCAs}}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, strings.Trim(res.Header.Get("ETag"), `"`), body
}

// TestFeedback follows outcomes from a device's queue to a back end, over a
// restart, and away with a hub.
func TestFeedback(t *testing.T) {
	const path, records = "/messages/serviceBound/feedback", 64
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configFor(dir)
	r := start(t, cfg, cloud.Options{Devices: []string{"d1"}})
	s := r.service()
	for i := range records {
		if err := s.SendCommand(t.Context(), "d1", "", &causeway.Message{ID: fmt.Sprint("m", i), Ack: causeway.AckFull, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 || i == records-1 {
			if _, err := s.PurgeCommands(t.Context(), "d1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	receive := func(r *running) (lock string, first any) {
		t.Helper()
		for began := time.Now(); time.Since(began) < patience; {
			status, lock, body := r.call(r.Connection().ServiceConnectionString, "GET", path)
			if status == http.StatusNoContent {
				<-time.After(10 * time.Millisecond) // HTTP has no way to wait
				continue
			}
			var got []map[string]any
			if err := json.Unmarshal(body, &got); status != http.StatusOK || err != nil || len(got) != records {
				t.Fatalf("%d %v %s", status, err, body)
			}
			return lock, got[0]["originalMessageId"]
		}
		t.Fatal("no feedback")
		return "", nil
	}
	if _, first := receive(r); first != "m0" {
		t.Errorf("first record: %v", first)
	}
	if text := r.metrics(dir); !strings.Contains(text, `causeway_hub_outbox_waiting{hub="localhost",kind="feedback"} 1`) ||
		!strings.Contains(text, `causeway_hub_outbox_waiting{hub="localhost",kind="fileNotifications"} 0`) {
		t.Error("metrics do not show what waits")
	}
	r.stop()

	r = start(t, cfg, cloud.Options{})
	lock, _ := receive(r)
	if status, _, body := r.call(r.Connection().ServiceConnectionString, "DELETE", path+"/"+lock); status != http.StatusNoContent {
		t.Errorf("complete: %d %s", status, body)
	}
	if status, _, body := r.call(r.Connection().ServiceConnectionString, "GET", path); status != http.StatusNoContent {
		t.Errorf("receive what was completed: %d %s", status, body)
	}

	a := r.admin(dir)
	if _, err := a.CreateConsumerGroup(t.Context(), "localhost", "analytics"); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteHub(t.Context(), "localhost"); err != nil {
		t.Fatal(err)
	}
	if text := r.metrics(dir); strings.Contains(text, `causeway_hub_outbox_waiting{hub="localhost"`) {
		t.Error("metrics show a deleted hub")
	}
	if _, err := a.CreateHub(t.Context(), client.Hub{Name: "localhost", Hosts: []string{"localhost"}}); err != nil {
		t.Fatal(err)
	}
	if groups, err := a.ConsumerGroups(t.Context(), "localhost"); err != nil || len(groups) != 1 {
		t.Errorf("consumer groups of a new hub: %+v, %v", groups, err)
	}
}
