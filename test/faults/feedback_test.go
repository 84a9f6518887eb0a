package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

const feedbackPath = "/messages/serviceBound/feedback"

// send makes a request to the service API with headers of its own and returns
// the status, the ETag and the body.
func (w *world) send(t *testing.T, method, path string, header map[string]string) (int, string, []byte) {
	t.Helper()
	u := fmt.Sprintf("https://localhost:%d%s?api-version=2021-04-12", w.Ready().HTTPSPort, path)
	req, err := http.NewRequestWithContext(t.Context(), method, u, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", w.ownerToken(t))
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("ETag"), b
}

func (w *world) kill(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	w.http.CloseIdleConnections()
}

// receiveFeedback waits for a message of feedback that has exactly the outcomes
// of the messages sent, and returns its lock.
func (w *world) receiveFeedback(t *testing.T, sent map[string]bool) (lock string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		status, lock, body := w.send(t, "GET", feedbackPath, nil)
		if status == http.StatusNoContent && time.Now().Before(deadline) {
			<-time.After(10 * time.Millisecond) // HTTP has no way to wait for a message
			continue
		}
		if status != http.StatusOK {
			t.Fatalf("receive: %d %s", status, body)
		}
		var got []struct{ OriginalMessageID, StatusCode string }
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, r := range got {
			if !sent[r.OriginalMessageID] || seen[r.OriginalMessageID] || r.StatusCode != "Purged" {
				t.Errorf("record %+v", r)
			}
			seen[r.OriginalMessageID] = true
		}
		if len(got) != len(sent) {
			t.Fatalf("%d records, want %d", len(got), len(sent))
		}
		return lock[1 : len(lock)-1]
	}
}

// TestKillWithFeedback kills the server after outcomes of messages were
// acknowledged, while a back end has the feedback, and after it has settled it.
func TestKillWithFeedback(t *testing.T) {
	t.Parallel()
	const rounds, records = 5, 64 // a full message, which needs no waiting
	w := newWorld(t, t.TempDir())
	w.createDevice(t, "d")
	for round := range rounds {
		sent := map[string]bool{}
		for i := range records {
			id := fmt.Sprintf("m-%d-%d", round, i)
			sent[id] = true
			if status, _, body := w.send(t, "POST", "/devices/d/messages/deviceBound", map[string]string{"iothub-messageid": id, "iothub-ack": "full"}); status != http.StatusNoContent {
				t.Fatalf("send: %d %s", status, body)
			}
			if i%40 == 39 || i == records-1 { // a queue holds 50
				if status, _, body := w.send(t, "DELETE", "/devices/d/commands", nil); status != http.StatusOK {
					t.Fatalf("purge: %d %s", status, body)
				}
			}
		}
		w.kill(t) // the outcomes are known, and perhaps in no message yet
		first := w.receiveFeedback(t, sent)
		w.kill(t)
		second := w.receiveFeedback(t, sent)
		if first == second {
			t.Errorf("round %d: the lock is the same after a restart", round)
		}
		if status, _, body := w.send(t, "DELETE", feedbackPath+"/"+first, nil); status != http.StatusPreconditionFailed {
			t.Errorf("round %d: settle by a lock of before: %d %s", round, status, body)
		}
		if status, _, body := w.send(t, "DELETE", feedbackPath+"/"+second, nil); status != http.StatusNoContent {
			t.Fatalf("round %d: settle: %d %s", round, status, body)
		}
		w.kill(t)
		if status, _, body := w.send(t, "GET", feedbackPath, nil); status != http.StatusNoContent {
			t.Errorf("round %d: settled feedback is back: %d %s", round, status, body)
		}
	}
}
