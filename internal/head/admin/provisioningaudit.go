package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// decisionBody is what a provisioning service decided about a device, and why.
type decisionBody struct {
	Seq          int64           `json:"seq" doc:"Position in the record"`
	At           time.Time       `json:"at"`
	Registration string          `json:"registrationId"`
	Outcome      string          `json:"outcome" enum:"assigned,failed,disabled,refused"`
	Hub          string          `json:"hub,omitempty" doc:"Host name of the hub that it is on"`
	From         string          `json:"from,omitempty" doc:"Host name of the hub that it was on before"`
	DeviceID     string          `json:"deviceId,omitempty"`
	Substatus    string          `json:"substatus,omitempty"`
	Code         int             `json:"errorCode,omitempty"`
	Message      string          `json:"errorMessage,omitempty" doc:"Why it failed or was refused"`
	Enrollment   string          `json:"enrollment,omitempty" doc:"That admitted it"`
	Group        bool            `json:"group,omitempty" doc:"Whether that is an enrollment group"`
	Attestation  string          `json:"attestation,omitempty"`
	Transport    string          `json:"transport,omitempty"`
	Remote       string          `json:"remote,omitempty" doc:"Address it came from"`
	Client       string          `json:"client,omitempty" doc:"What it says it is"`
	Operation    string          `json:"operationId,omitempty"`
	Policy       string          `json:"allocationPolicy,omitempty"`
	Reason       string          `json:"reason,omitempty" doc:"How the hub was chosen"`
	Region       string          `json:"region,omitempty" doc:"Of the device"`
	Webhook      int             `json:"webhookStatus,omitempty" doc:"HTTP status of the webhook's answer"`
	Candidates   []candidateBody `json:"candidates,omitempty" nullable:"false" doc:"Hubs that it might have been assigned to"`
	Millis       float64         `json:"milliseconds" doc:"From its registration to its end"`
	Skipped      int             `json:"skipped,omitempty" doc:"Refused devices before this one that are not on record, because there were too many"`
}

type candidateBody struct {
	Host      string `json:"host"`
	Weight    int    `json:"weight"`
	Region    string `json:"region,omitempty"`
	Latency   *int   `json:"latencyMilliseconds,omitempty" doc:"From the region of the device"`
	Unhealthy bool   `json:"unhealthy,omitempty"`
}

type auditInput struct {
	ServicePath
	Registration string    `query:"registration" maxLength:"128" doc:"Only of this registration id"`
	Since        time.Time `query:"since" doc:"Only from this time on"`
	After        int64     `query:"after" minimum:"-1" default:"-1" doc:"Those after this position, in their order; without it the latest come first"`
	Before       int64     `query:"before" minimum:"0" doc:"Of the latest, those before this position"`
	Limit        int       `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many"`
}

type auditOutput struct {
	Body struct {
		Decisions []decisionBody `json:"decisions" nullable:"false"`
	}
}

func (s *Server) addAudit(api huma.API) {
	list := operation("listProvisioningDecisions", http.MethodGet, "/provisioning/{service}/audit", "provisioning", "List what a provisioning service decided about devices, and why", 0)
	list.Errors = append(list.Errors, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, list, s.listDecisions)
}

func (s *Server) listDecisions(ctx context.Context, in *auditInput) (*auditOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list, err := s.Provisioning.Decisions(ctx, i.Name, dps.DecisionQuery{
		Registration: in.Registration, Since: in.Since, Ascending: in.After >= 0, After: in.After, Before: in.Before, Limit: in.Limit,
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &auditOutput{}
	out.Body.Decisions = make([]decisionBody, 0, len(list))
	for k := range list {
		out.Body.Decisions = append(out.Body.Decisions, newDecision(&list[k]))
	}
	return out, nil
}

func newDecision(d *dps.Decision) decisionBody {
	b := decisionBody{
		Seq: d.Seq, At: d.At.UTC(), Registration: d.Registration, Outcome: string(d.Outcome), Hub: d.Hub, From: d.From, DeviceID: d.DeviceID,
		Substatus: string(d.Substatus), Code: d.Code, Message: d.Message, Enrollment: d.Enrollment, Group: d.Group, Attestation: string(d.Kind),
		Transport: d.Transport, Remote: d.Remote, Client: d.Client, Operation: d.Operation, Policy: string(d.Why.Policy), Reason: d.Why.Reason,
		Region: d.Why.Region, Webhook: d.Why.Webhook, Millis: float64(d.Took.Microseconds()) / 1000, Skipped: d.Skipped,
	}
	for _, c := range d.Why.Candidates {
		v := candidateBody{Host: c.Host, Weight: c.Weight, Region: c.Region, Unhealthy: c.Unhealthy}
		if c.Latency >= 0 {
			v.Latency = &c.Latency
		}
		b.Candidates = append(b.Candidates, v)
	}
	return b
}
