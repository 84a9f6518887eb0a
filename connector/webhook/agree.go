package webhook

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/routed"
)

// validationType is the type of the event that asks a receiver whether it wants
// events.
const validationType = "Microsoft.EventGrid.SubscriptionValidationEvent"

// agree has the receiver say that it wants messages, once, if that is wanted.
func (s *Sink) agree(ctx context.Context) error {
	if s.c.Validation == "none" || s.c.Format == FormatJSON {
		return nil
	}
	s.agreeing.Lock()
	defer s.agreeing.Unlock()
	if s.agreed {
		return nil
	}
	ask := s.askGrid
	if s.c.Format == FormatCloudEvents {
		ask = s.askCloud
	}
	if err := ask(ctx); err != nil {
		return fmt.Errorf("handshake with the receiver: %w", err)
	}
	s.agreed = true
	return nil
}

// askGrid posts an event with a code that the receiver has to send back.
func (s *Sink) askGrid(ctx context.Context) error {
	code, topic := rand.Text(), cmp.Or(s.c.Topic, routed.Topic(s.env.Hub))
	body, err := hubjson.Marshal([]routed.GridEvent{{
		ID: rand.Text(), Topic: topic, EventType: validationType, EventTime: routed.Time(time.Now()),
		Data: map[string]string{"validationCode": code}, MetadataVersion: "1", DataVersion: "2",
	}})
	if err != nil {
		return err
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json; charset=utf-8")
	s.gridHeaders(h)
	h.Set("Aeg-Event-Type", "SubscriptionValidation")
	r, err := s.exchange(ctx, http.MethodPost, body, h)
	if err != nil {
		return err
	}
	var answer struct {
		ValidationResponse string `json:"validationResponse"`
	}
	if err := json.Unmarshal(r.body, &answer); err != nil || answer.ValidationResponse != code {
		return fmt.Errorf("it must answer an event of the type %s with {\"validationResponse\": the validationCode of the event}; it answered %q", validationType, printable(r.body))
	}
	return nil
}

// askCloud asks as the specification of HTTP webhooks of CloudEvents says, and
// keeps to the rate that the receiver wants.
func (s *Sink) askCloud(ctx context.Context) error {
	origin := cmp.Or(s.env.Host, s.env.Hub)
	h := http.Header{}
	h.Set("WebHook-Request-Origin", origin)
	h.Set("WebHook-Request-Rate", "*")
	r, err := s.exchange(ctx, http.MethodOptions, nil, h)
	if err != nil {
		return err
	}
	allowed := r.header.Get("WebHook-Allowed-Origin")
	if allowed != "*" && !strings.EqualFold(allowed, origin) {
		return fmt.Errorf("it must answer OPTIONS with the header WebHook-Allowed-Origin: %s, or *; it answered %q", origin, printable([]byte(allowed)))
	}
	if n, err := strconv.Atoi(r.header.Get("WebHook-Allowed-Rate")); err == nil && n > 0 {
		s.pause = time.Minute / time.Duration(n)
	}
	return nil
}
