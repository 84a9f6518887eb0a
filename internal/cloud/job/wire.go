package job

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// Request is how callers ask for a job, in JSON. Members that are absent or null
// stay nil; unknown ones are ignored.
type Request struct {
	JobID                     *string      `json:"jobId"`
	Type                      *string      `json:"type"`
	CloudToDeviceMethod       *MethodJSON  `json:"cloudToDeviceMethod"`
	UpdateTwin                *UpdatedTwin `json:"updateTwin"`
	QueryCondition            *string      `json:"queryCondition"`
	StartTime                 *string      `json:"startTime"`
	MaxExecutionTimeInSeconds *int64       `json:"maxExecutionTimeInSeconds"`
}

// MethodJSON is the call of a method in JSON.
type MethodJSON struct {
	MethodName               *string         `json:"methodName"`
	Payload                  json.RawMessage `json:"payload"`
	ResponseTimeoutInSeconds *int            `json:"responseTimeoutInSeconds"`
	ConnectTimeoutInSeconds  *int            `json:"connectTimeoutInSeconds"`
}

// UpdatedTwin is the change of a twin in JSON.
type UpdatedTwin struct {
	ETag       *string         `json:"etag"`
	Tags       json.RawMessage `json:"tags"`
	Properties *struct {
		Desired json.RawMessage `json:"desired"`
	} `json:"properties"`
}

func invalid(op, format string, args ...any) error {
	return causeway.Errorf(causeway.ArgumentInvalid, op, format, args...)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Job returns the job that a caller asks for under an id.
//
// Codes: ArgumentInvalid, ArgumentNull, DeserializationError, MessageTooLarge.
func (r *Request) Job(hub, id string, now time.Time) (Job, error) {
	const op = "job.Request"
	j := Job{Hub: hub, ID: id, Condition: strings.TrimSpace(text(r.QueryCondition)), Created: now}
	if strings.EqualFold(id, "query") {
		return j, invalid(op, "a job cannot have the id %q: that is where jobs are listed", id)
	}
	if !ValidID(id) {
		return j, invalid(op, "the job id must have 1 to %d ASCII letters, digits and characters of - . _ : %% +", MaxIDLength)
	}
	if r.JobID != nil && *r.JobID != "" && *r.JobID != id {
		return j, invalid(op, "the body has jobId %.130q but the path has %q, they must be the same", *r.JobID, id)
	}
	if j.Condition == "" {
		return j, causeway.Errorf(causeway.ArgumentNull, op, "queryCondition is missing: say whom the job is for, * for all devices")
	}
	if utf8.RuneCountInString(j.Condition) > MaxCondition {
		return j, invalid(op, "queryCondition has more than %d characters", MaxCondition)
	}
	var err error
	switch t := text(r.Type); {
	case strings.EqualFold(t, string(UpdateTwin)):
		j.Type = UpdateTwin
		j.Twin, err = r.UpdateTwin.twin(op)
	case strings.EqualFold(t, string(DeviceMethod)):
		j.Type = DeviceMethod
		j.Method, err = r.CloudToDeviceMethod.method(op)
	default:
		err = invalid(op, "type is %.40q, it must be %s or %s", t, UpdateTwin, DeviceMethod)
	}
	if err != nil {
		return j, err
	}
	return j, r.times(op, &j)
}

func (r *Request) times(op string, j *Job) error {
	j.Start, j.Window = j.Created, DefaultWindow
	if s := text(r.StartTime); s != "" {
		at, err := parseTime(s)
		if err != nil {
			return invalid(op, "startTime %.40q is not an instant such as 2024-01-31T12:00:00Z", s)
		}
		if at.Sub(j.Created) > MaxStartAhead {
			return invalid(op, "startTime %.40q is more than %d days ahead", s, MaxStartAhead/(24*time.Hour))
		}
		if at.After(j.Created) {
			j.Start = at
		}
	}
	if n := r.MaxExecutionTimeInSeconds; n != nil && *n != 0 {
		if *n < 0 || *n > int64(MaxWindow/time.Second) {
			return invalid(op, "maxExecutionTimeInSeconds is %d, it must be from 1 to %d, or 0 for %d", *n, MaxWindow/time.Second, DefaultWindow/time.Second)
		}
		j.Window = time.Duration(*n) * time.Second
	}
	return nil
}

// parseTime reads ISO 8601; without a zone it is UTC.
func parseTime(s string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return at.UTC(), nil
	}
	return time.Parse("2006-01-02T15:04:05.999999999", s)
}

func (m *MethodJSON) method(op string) (Method, error) {
	if m == nil || text(m.MethodName) == "" {
		return Method{}, causeway.Errorf(causeway.ArgumentNull, op, "cloudToDeviceMethod.methodName is missing")
	}
	out := Method{Name: *m.MethodName, Payload: m.Payload, ResponseWait: causeway.DefaultMethodWait}
	switch {
	case utf8.RuneCountInString(out.Name) > causeway.MaxMethodName:
		return out, invalid(op, "cloudToDeviceMethod.methodName has more than %d characters", causeway.MaxMethodName)
	case len(out.Payload) > causeway.MaxMethodPayload:
		return out, causeway.Errorf(causeway.MessageTooLarge, op, "cloudToDeviceMethod.payload has %d bytes, at most %d are allowed", len(out.Payload), causeway.MaxMethodPayload)
	}
	for _, w := range []struct {
		name  string
		given *int
		least time.Duration
		at    *time.Duration
	}{
		{"responseTimeoutInSeconds", m.ResponseTimeoutInSeconds, causeway.MinMethodTimeout, &out.ResponseWait},
		{"connectTimeoutInSeconds", m.ConnectTimeoutInSeconds, 0, &out.PickWait},
	} {
		if w.given == nil {
			continue
		}
		if n := *w.given; n < int(w.least.Seconds()) || n > int(causeway.MaxMethodTimeout.Seconds()) {
			return out, invalid(op, "cloudToDeviceMethod.%s is %d, it must be from %d to %d", w.name, n, int(w.least.Seconds()), int(causeway.MaxMethodTimeout.Seconds()))
		}
		*w.at = time.Duration(*w.given) * time.Second
	}
	return out, nil
}

// twin checks a change by making it on an empty twin: what no twin can take is
// refused when the job is made, not by each device.
func (u *UpdatedTwin) twin(op string) (Twin, error) {
	if u == nil {
		return Twin{}, causeway.Errorf(causeway.ArgumentNull, op, "updateTwin is missing")
	}
	out := Twin{ETag: strings.Trim(text(u.ETag), `"`), Tags: u.Tags}
	if u.Properties != nil {
		out.Desired = u.Properties.Desired
	}
	for _, s := range []struct {
		text    *json.RawMessage
		section twin.Section
	}{{&out.Tags, twin.Tags}, {&out.Desired, twin.Desired}} {
		if len(*s.text) == 0 || string(*s.text) == "null" {
			*s.text = nil // SDKs send null for what the caller left out
			continue
		}
		if _, err := twin.Merge(twin.Doc{}, *s.text, twin.Change{Section: s.section}); err != nil {
			return out, err
		}
	}
	if out.Tags == nil && out.Desired == nil {
		return out, causeway.Errorf(causeway.ArgumentNull, op, "updateTwin has neither tags nor properties.desired")
	}
	return out, nil
}

// ValidID reports whether s may name a job.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > MaxIDLength {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._:%+", c))
	})
}

// response is a job in JSON, its members in the order the service sends them.
type response struct {
	JobID                     string        `json:"jobId"`
	QueryCondition            string        `json:"queryCondition"`
	CreatedTime               string        `json:"createdTime"`
	StartTime                 string        `json:"startTime"`
	EndTime                   string        `json:"endTime,omitempty"`
	MaxExecutionTimeInSeconds int64         `json:"maxExecutionTimeInSeconds"`
	Type                      Type          `json:"type"`
	CloudToDeviceMethod       *methodOut    `json:"cloudToDeviceMethod,omitempty"`
	UpdateTwin                *twinOut      `json:"updateTwin,omitempty"`
	Status                    Status        `json:"status"`
	FailureReason             string        `json:"failureReason,omitempty"`
	StatusMessage             string        `json:"statusMessage,omitempty"`
	DeviceJobStatistics       statisticsOut `json:"deviceJobStatistics"`
}

type methodOut struct {
	MethodName               string          `json:"methodName"`
	Payload                  json.RawMessage `json:"payload"`
	ResponseTimeoutInSeconds int             `json:"responseTimeoutInSeconds"`
	ConnectTimeoutInSeconds  int             `json:"connectTimeoutInSeconds"`
}

type twinOut struct {
	ETag       string          `json:"etag"`
	Tags       json.RawMessage `json:"tags,omitempty"`
	Properties *desiredOut     `json:"properties,omitempty"`
}

type desiredOut struct {
	Desired json.RawMessage `json:"desired"`
}

type statisticsOut struct {
	DeviceCount    int `json:"deviceCount"`
	FailedCount    int `json:"failedCount"`
	SucceededCount int `json:"succeededCount"`
	RunningCount   int `json:"runningCount"`
	PendingCount   int `json:"pendingCount"`
}

// MarshalJSON renders a job as IoT Hub does (JobResponse).
func (j Job) MarshalJSON() ([]byte, error) {
	s := j.Statistics
	out := response{
		JobID: j.ID, QueryCondition: j.Condition, CreatedTime: instant(j.Created), StartTime: instant(j.Start), EndTime: instant(j.Finished),
		MaxExecutionTimeInSeconds: int64(j.Window / time.Second), Type: j.Type, Status: j.Status, FailureReason: j.Reason, StatusMessage: j.Message,
		DeviceJobStatistics: statisticsOut{DeviceCount: s.Devices, FailedCount: s.Failed, SucceededCount: s.Succeeded, RunningCount: s.Running, PendingCount: s.Pending},
	}
	switch j.Type {
	case DeviceMethod:
		out.CloudToDeviceMethod = &methodOut{j.Method.Name, orNull(j.Method.Payload), int(j.Method.ResponseWait.Seconds()), int(j.Method.PickWait.Seconds())}
	case UpdateTwin:
		out.UpdateTwin = &twinOut{ETag: j.Twin.ETag, Tags: j.Twin.Tags}
		if out.UpdateTwin.ETag == "" {
			out.UpdateTwin.ETag = "*"
		}
		if j.Twin.Desired != nil {
			out.UpdateTwin.Properties = &desiredOut{j.Twin.Desired}
		}
	}
	return hubjson.Marshal(out)
}

// rowOut is a device of a job in JSON (DeviceJob).
type rowOut struct {
	DeviceID               string      `json:"deviceId"`
	ModuleID               string      `json:"moduleId,omitempty"`
	JobID                  string      `json:"jobId"`
	JobType                Type        `json:"jobType"`
	Status                 string      `json:"status"`
	StartTimeUTC           string      `json:"startTimeUtc"`
	EndTimeUTC             string      `json:"endTimeUtc"`
	CreatedDateTimeUTC     string      `json:"createdDateTimeUtc"`
	LastUpdatedDateTimeUTC string      `json:"lastUpdatedDateTimeUtc"`
	Outcome                *outcomeOut `json:"outcome,omitempty"`
	Error                  *errorOut   `json:"error,omitempty"`
}

type outcomeOut struct {
	DeviceMethodResponse *answerOut `json:"deviceMethodResponse"`
}

type answerOut struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

type errorOut struct {
	Code        string `json:"code"`
	Description string `json:"description"`
}

// MarshalJSON renders a row as an item of devices.jobs. Its four times are always
// there: some clients cannot read null.
func (d DeviceJob) MarshalJSON() ([]byte, error) {
	out := rowOut{
		DeviceID: d.ID.Device, ModuleID: d.ID.Module, JobID: d.Job, JobType: d.Type, Status: d.Status.String(),
		StartTimeUTC: always(d.Started), EndTimeUTC: always(d.Ended), CreatedDateTimeUTC: always(d.Created), LastUpdatedDateTimeUTC: always(d.Updated),
	}
	switch {
	case d.Answered:
		out.Outcome = &outcomeOut{&answerOut{d.Answer.Status, orNull(d.Answer.Payload)}}
	case d.Status == RowCompleted:
		out.Outcome = &outcomeOut{}
	}
	if d.Code != "" {
		out.Error = &errorOut{d.Code, d.Text}
	}
	return hubjson.Marshal(out)
}

func orNull(b []byte) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("null")
	}
	return b
}

// instant renders a time, "" for none.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(hubjson.Ticks)
}

func always(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00Z"
	}
	return instant(t)
}
