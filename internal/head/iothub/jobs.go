package iothub

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Jobs is what this head asks of job.Service; see there.
type Jobs interface {
	Create(ctx context.Context, j job.Job) (job.Job, error)
	Get(ctx context.Context, hub, id string) (job.Job, error)
	List(ctx context.Context, hub string, f job.Filter, limit int, token string) (page []job.Job, next string, err error)
	Cancel(ctx context.Context, hub, id string) (job.Job, error)
}

// createJob takes a job on under the id of the path.
func (h *handler) createJob(c *call) (reply, error) {
	var body job.Request
	if err := readJSON(c, causeway.MaxRequestBody, &body); err != nil {
		return reply{}, err
	}
	j, err := body.Job(c.hub.Name(), c.params.job, time.Now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return reply{}, err
	}
	if j, err = h.jobs.Create(c.r.Context(), j); err != nil {
		return reply{}, err
	}
	h.auditJob(c, "job created", j.ID)
	return reply{status: http.StatusOK}.json(j)
}

// unknownJob is what is told here of an import or an export.
type unknownJob struct {
	ID     string `json:"jobId"`
	Type   string `json:"type"`
	Status string `json:"status"`
}

// getJob tells of imports and exports that they are unknown here, which is no
// error: the Azure CLI asks here first, and at /jobs/{id} when it is told so.
func (h *handler) getJob(c *call) (reply, error) {
	j, err := h.jobs.Get(c.r.Context(), c.hub.Name(), c.params.job)
	if causeway.CodeOf(err) == causeway.JobNotFound {
		if _, elsewhere := h.transfers.Get(c.r.Context(), c.hub.Name(), c.params.job); elsewhere == nil {
			return reply{status: http.StatusOK}.json(unknownJob{c.params.job, "unknown", "unknown"})
		}
	}
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK}.json(j)
}

// cancelJob needs no body; some clients send null.
func (h *handler) cancelJob(c *call) (reply, error) {
	j, err := h.jobs.Cancel(c.r.Context(), c.hub.Name(), c.params.job)
	if err != nil {
		return reply{}, err
	}
	h.auditJob(c, "job cancelled", j.ID)
	return reply{status: http.StatusOK}.json(j)
}

func (h *handler) auditJob(c *call, what, id string) {
	h.log.Info(what, obs.KeyHub, c.hub.Name(), "job", id, "by", c.who, obs.KeyRequest, c.request, obs.KeyRemote, c.r.RemoteAddr)
}

// listJobs answers a page of jobs, newest first.
func (h *handler) listJobs(c *call) (reply, error) {
	const op = "iothub.listJobs"
	q := c.r.URL.Query()
	f, err := jobFilter(q.Get("jobType"), q.Get("jobStatus"))
	if err != nil {
		return reply{}, err
	}
	size := job.DefaultPage
	if v := c.r.Header.Get("x-ms-max-item-count"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return reply{}, causeway.Errorf(causeway.ArgumentInvalid, op, "the header x-ms-max-item-count is %q, it must be a number from 1 to %d", clip(v), job.MaxPage)
		}
		size = min(n, job.MaxPage)
	}
	page, next, err := h.jobs.List(c.r.Context(), c.hub.Name(), f, size, c.r.Header.Get("x-ms-continuation"))
	if err != nil {
		return reply{}, err
	}
	// The case of the item type matters to some clients, and an empty
	// continuation would make others ask for ever.
	head := http.Header{"x-ms-item-type": {"JobResponse"}}
	if next != "" {
		head["x-ms-continuation"] = []string{next}
	}
	if page == nil {
		page = []job.Job{}
	}
	return reply{status: http.StatusOK, header: head}.json(page)
}

// jobFilter reads the two filters of a list of jobs. Both may be empty or
// "unknown"; older clients say enqueued for queued.
func jobFilter(typ, status string) (f job.Filter, err error) {
	const op = "iothub.listJobs"
	types := []job.Type{job.UpdateTwin, job.DeviceMethod}
	for _, t := range types {
		if strings.EqualFold(typ, string(t)) {
			f.Type = t
		}
	}
	if f.Type == "" && typ != "" && !strings.EqualFold(typ, "unknown") {
		return f, causeway.Errorf(causeway.ArgumentInvalid, op, "the query parameter jobType is %q, it must be %s or %s", clip(typ), job.UpdateTwin, job.DeviceMethod)
	}
	for _, s := range []job.Status{job.Queued, job.Scheduled, job.Running, job.Completed, job.Failed, job.Cancelled} {
		if strings.EqualFold(status, string(s)) {
			f.Status = s
		}
	}
	if strings.EqualFold(status, "enqueued") {
		f.Status = job.Queued
	}
	if f.Status == "" && status != "" && !strings.EqualFold(status, "unknown") {
		return f, causeway.Errorf(causeway.ArgumentInvalid, op, "the query parameter jobStatus is %q, it must be queued, scheduled, running, completed, failed or cancelled", clip(status))
	}
	return f, nil
}
