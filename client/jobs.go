package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
)

// The types of scheduled jobs.
const (
	JobUpdateTwin   = "scheduleUpdateTwin"
	JobDeviceMethod = "scheduleDeviceMethod"
)

// Job is a scheduled job: a change of the twins of many devices, or a call of a
// method of each.
type Job struct {
	ID            string        `json:"jobId"`
	Type          string        `json:"type"`           // JobUpdateTwin or JobDeviceMethod
	Condition     string        `json:"queryCondition"` // whom it is for: "*", or an expression over twins
	Created       Time          `json:"createdTime,omitzero"`
	Start         Time          `json:"startTime,omitzero"`                  // zero is now
	End           Time          `json:"endTime,omitzero"`                    // zero before it has ended
	WindowSeconds int64         `json:"maxExecutionTimeInSeconds,omitempty"` // 0 is an hour
	Twin          *JobTwin      `json:"updateTwin,omitempty"`                // of JobUpdateTwin
	Method        *JobMethod    `json:"cloudToDeviceMethod,omitempty"`       // of JobDeviceMethod
	Status        string        `json:"status,omitempty"`                    // queued, scheduled, running, completed, failed or cancelled
	FailureReason string        `json:"failureReason,omitempty"`
	StatusMessage string        `json:"statusMessage,omitempty"`
	Statistics    JobStatistics `json:"deviceJobStatistics,omitzero"`
}

// Ended reports whether the job has come to its end.
func (j *Job) Ended() bool {
	return j.Status == "completed" || j.Status == "failed" || j.Status == "cancelled"
}

// JobTwin is the change of a twin by a job; null deletes, a nil section stays.
type JobTwin struct {
	ETag       string          `json:"etag,omitempty"` // "" or "*" is any
	Tags       json.RawMessage `json:"tags,omitempty"`
	Properties *JobDesired     `json:"properties,omitempty"`
}

// JobDesired are the desired properties of a [JobTwin].
type JobDesired struct {
	Desired json.RawMessage `json:"desired"`
}

// JobMethod is the call of a method by a job.
type JobMethod struct {
	Name            string          `json:"methodName"`
	Payload         json.RawMessage `json:"payload"` // nil is null
	ResponseSeconds int             `json:"responseTimeoutInSeconds,omitempty"`
}

// JobStatistics count the devices of a job.
type JobStatistics struct {
	Devices   int `json:"deviceCount"`
	Failed    int `json:"failedCount"`
	Succeeded int `json:"succeededCount"`
	Running   int `json:"runningCount"`
	Pending   int `json:"pendingCount"`
}

func jobPath(id string) string { return "/jobs/v2/" + url.PathEscape(id) }

// CreateJob schedules a job under its ID. Codes: JobAlreadyExists,
// ThrottlingMaxActiveJobCountExceeded, ArgumentInvalid.
func (s *Service) CreateJob(ctx context.Context, j Job) (Job, error) {
	body := map[string]any{"jobId": j.ID, "type": j.Type, "queryCondition": j.Condition}
	if !j.Start.IsZero() {
		body["startTime"] = j.Start.UTC().Format(time.RFC3339Nano)
	}
	if j.WindowSeconds > 0 {
		body["maxExecutionTimeInSeconds"] = j.WindowSeconds
	}
	if j.Twin != nil {
		body["updateTwin"] = j.Twin
	}
	if j.Method != nil {
		body["cloudToDeviceMethod"] = j.Method
	}
	var out Job
	_, err := s.call(ctx, "create job", http.MethodPut, jobPath(j.ID), "", body, &out)
	return out, err
}

// Job returns a scheduled job. Code: JobNotFound.
func (s *Service) Job(ctx context.Context, id string) (Job, error) {
	var j Job
	_, err := s.call(ctx, "get job", http.MethodGet, jobPath(id), "", nil, &j)
	return j, err
}

// CancelJob ends a scheduled job. Codes: JobNotFound, InvalidOperation (it has
// ended by itself).
func (s *Service) CancelJob(ctx context.Context, id string) (Job, error) {
	var j Job
	_, err := s.call(ctx, "cancel job", http.MethodPost, jobPath(id)+"/cancel", "", nil, &j)
	return j, err
}

// Jobs returns a page of scheduled jobs, newest first; typ and status may be ""
// for any. Token is that of the page before, "" for the first; next is "" on the
// last page. A page has up to limit jobs, at most 1000; 0 means 100.
func (s *Service) Jobs(ctx context.Context, typ, status string, limit int, token string) (page []Job, next string, err error) {
	q := request{
		method: http.MethodGet, path: "/jobs/v2/query", op: "list jobs", header: http.Header{},
		query: url.Values{"api-version": {apiVersion}, "jobType": {typ}, "jobStatus": {status}},
	}
	if limit > 0 {
		q.header.Set("x-ms-max-item-count", strconv.Itoa(min(limit, causeway.MaxPageSize)))
	}
	if token != "" {
		q.header.Set("x-ms-continuation", token)
	}
	h, err := s.rest.do(ctx, q, &page)
	return page, h.Get("x-ms-continuation"), err
}
