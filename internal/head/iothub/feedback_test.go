package iothub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
)

const feedbackPath = "/messages/serviceBound/feedback"

// feedback makes n outcomes known and waits until they can be received: n fills
// messages.
func (w *world) feedback(n int, at time.Time) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.outbox.Run(ctx) }()
	ready, end := w.outbox.Subscribe("myhub", outbox.Feedback)
	for i := range n {
		module := ""
		if i%2 == 1 {
			module = "m"
		}
		w.outcomes.Record("myhub", outbox.FeedbackRecord{
			OriginalMessageID: fmt.Sprint("m", i), Time: at, Status: c2d.RejectedByDevice, DeviceID: "d", ModuleID: module, GenerationID: "g",
		})
	}
	w.outbox.Recorded("myhub", n)
	<-ready
	end()
	cancel()
	if err := <-done; err != nil {
		w.t.Error(err)
	}
}

func TestFeedback(t *testing.T) {
	w := newWorld(t)
	if a := w.get(feedbackPath).want(204); len(a.body) != 0 || a.header.Get("ETag") != "" {
		t.Errorf("nothing: %v %s", a.header, a.body)
	}
	at := time.Now()
	w.feedback(outbox.MaxRecords, at)
	a := w.do(request{method: "GET", path: "/Messages/servicebound/Feedback/", header: with("Authorization", token("service"))}).want(200)
	lock := a.header.Get("ETag")
	for name, want := range map[string]string{
		"Content-Type": "application/json; charset=utf-8", "iothub-deliverycount": "0", "iothub-to": feedbackPath,
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	records, ok := a.json().([]any)
	if !ok || len(records) != outbox.MaxRecords {
		t.Fatalf("body: %s", a.body)
	}
	stamp := at.UTC().Format("2006-01-02T15:04:05.0000000Z")
	want := `[{"originalMessageId":"m0","enqueuedTimeUtc":"` + stamp + `","statusCode":"Rejected","description":"Message rejected by device","deviceId":"d","deviceGenerationId":"g"},` +
		`{"originalMessageId":"m1","enqueuedTimeUtc":"` + stamp + `","statusCode":"Rejected","description":"Message rejected by device","deviceId":"d","moduleId":"m","deviceGenerationId":"g"},`
	if !strings.HasPrefix(string(a.body), want) {
		t.Errorf("body  %.400s\nbegins %s", a.body, want)
	}
	w.get(feedbackPath).want(204) // locked

	of := feedbackPath + "/" + strings.Trim(lock, `"`)
	w.post(of+"/abandon", "").want(204)
	w.delete(of).refused(causeway.DeviceMessageLockLost)
	again := w.get(feedbackPath).want(200)
	if again.header.Get("iothub-deliverycount") != "1" || again.header.Get("ETag") == lock ||
		again.header.Get("iothub-messageid") != a.header.Get("iothub-messageid") || again.header.Get("iothub-sequencenumber") != a.header.Get("iothub-sequencenumber") {
		t.Errorf("second delivery: %v, first %v", again.header, a.header)
	}
	of = pathOf("messages", "serviceBound", "feedback", again.header.Get("ETag")) // quoted in the path
	w.delete(of).want(204)
	w.get(feedbackPath).want(204)
	w.delete(of).refused(causeway.DeviceMessageLockLost)
}

// TestFeedbackFails answers when the store cannot be read.
func TestFeedbackFails(t *testing.T) {
	w := newWorld(t)
	w.feedback(outbox.MaxRecords, time.Now())
	lock := strings.Trim(w.get(feedbackPath).want(200).header.Get("ETag"), `"`)
	w.outcomes.Fail(causeway.Errorf(causeway.ServiceUnavailable, "", "the disk is full"))
	w.delete(feedbackPath + "/" + lock).refused(causeway.ServiceUnavailable)
	w.outcomes.Fail(nil)
	w.delete(feedbackPath + "/" + lock).want(204)
}
