package dps

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// Caller posts JSON to a webhook and returns its answer, of which it reads no
// more than most bytes. It decides which addresses may be called and how long that
// may take.
type Caller interface {
	Post(ctx context.Context, url string, body []byte, most int) (status int, answer []byte, err error)
}

// custom has a webhook choose the hub.
func (s *Service) custom(ctx context.Context, t *tenant, e *Enrollment, r *Registration, links []Link, c *choice, why *Why) error {
	if s.caller == nil {
		return &failure{code: FailedAllocation, msg: "Custom allocation failed: this service calls no webhooks"}
	}
	body, err := json.Marshal(s.question(e, r, links))
	if err != nil {
		return fmt.Errorf("write the question to the webhook: %w", err)
	}
	began := time.Now()
	status, answer, err := s.caller.Post(ctx, e.Webhook.URL, body, MaxPayload+MaxTwin+MaxURL)
	s.metrics.asked(t.Name, time.Since(began), err)
	why.Webhook, why.Reason = status, "a webhook chose"
	if err != nil {
		return &failure{code: FailedAllocation, msg: "Custom allocation failed: the webhook cannot be called", err: err}
	}
	if status < 200 || status > 299 {
		return &failure{code: FailedAllocation, msg: fmt.Sprintf("Custom allocation failed with status code: %d", status)}
	}
	if err := c.read(answer, links); err != nil {
		return &failure{code: FailedAllocation, msg: "Custom allocation failed: " + err.Error()}
	}
	return nil
}

// question is what a webhook is asked.
type question struct {
	Group      *EnrollmentJSON `json:"enrollmentGroup,omitempty"`
	Individual *EnrollmentJSON `json:"individualEnrollment,omitempty"`
	Runtime    runtimeContext  `json:"deviceRuntimeContext"`
	Hubs       []string        `json:"linkedHubs"`
}

type runtimeContext struct {
	ID           string            `json:"registrationId"`
	Hub          string            `json:"currentIotHubHostName,omitempty"`
	Device       string            `json:"currentDeviceId,omitempty"`
	X509         *attestation.Info `json:"x509,omitempty"`
	SymmetricKey *struct{}         `json:"symmetricKey,omitempty"`
	TPM          *struct{}         `json:"tpm,omitempty"`
	Payload      json.RawMessage   `json:"payload,omitempty"`
}

func (s *Service) question(e *Enrollment, r *Registration, links []Link) question {
	q := question{Runtime: runtimeContext{ID: r.ID, Hub: r.Hub, Device: r.DeviceID, Payload: r.Pending.Payload}}
	switch r.Kind {
	case X509:
		if c, err := parseDER(r.Pending.Certificate); err == nil {
			i := attestation.InfoOf(c)
			q.Runtime.X509 = &i
		}
	case SymmetricKey:
		q.Runtime.SymmetricKey = &struct{}{}
	case TPM:
		q.Runtime.TPM = &struct{}{}
	}
	doc := JSONOf(e, false)
	if e.Group {
		q.Group = &doc
	} else {
		q.Individual = &doc
	}
	for _, l := range links {
		q.Hubs = append(q.Hubs, l.Host)
	}
	return q
}

// read reads what a webhook answers.
func (c *choice) read(b []byte, links []Link) error {
	var a struct {
		Host string `json:"iotHubHostName"`
		Twin *struct {
			Tags       json.RawMessage `json:"tags"`
			Properties struct {
				Desired json.RawMessage `json:"desired"`
			} `json:"properties"`
		} `json:"initialTwin"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF")), &a); err != nil {
		return errors.New("the webhook does not answer with a JSON object that has iotHubHostName")
	}
	found := false
	for _, l := range links {
		if strings.EqualFold(l.Host, a.Host) {
			c.link, found = l, true
		}
	}
	if !found {
		return fmt.Errorf("the webhook chose the hub %q, which is none of the linked hubs it was given", clip(a.Host))
	}
	if len(a.Payload) > MaxPayload {
		return fmt.Errorf("the payload of the webhook has more than %d bytes", MaxPayload)
	}
	if !isNull(a.Payload) {
		c.payload = a.Payload
	}
	if a.Twin != nil {
		c.twin = InitialTwin{Tags: a.Twin.Tags, Desired: a.Twin.Properties.Desired}
		if err := c.twin.check(); err != nil {
			return fmt.Errorf("the initialTwin of the webhook is not valid: %w", err)
		}
	}
	c.custom = true
	return nil
}
