package dps

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// quoted is how the service writes etags: the quotes are part of them.
func quoted(etag string) string { return `"` + etag + `"` }

// view returns an enrollment as it is answered. A single one embeds what became of
// its device.
func (h *handler) view(c *call, e *dps.Enrollment, keys bool) (dps.EnrollmentJSON, error) {
	j := dps.JSONOf(e, keys)
	j.ETag = quoted(e.ETag)
	if e.Group {
		return j, nil
	}
	r, err := h.service.Registration(c.r.Context(), c.service, e.ID)
	switch {
	case causeway.CodeOf(err) == dps.CodeNotFound:
		r = dps.Registration{ID: e.ID, Status: dps.Unassigned}
	case err != nil:
		return j, err
	}
	s := registrationView(&r)
	j.State = &s
	return j, nil
}

func (h *handler) getEnrollment(c *call) (reply, error) {
	e, err := h.service.Enrollment(c.r.Context(), c.service, c.route.group, c.params.id)
	if err != nil {
		return reply{}, err
	}
	return h.enrollmentReply(c, &e, false)
}

func (h *handler) enrollmentReply(c *call, e *dps.Enrollment, keys bool) (reply, error) {
	j, err := h.view(c, e, keys)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, etag: j.ETag}.json(j)
}

// putEnrollment creates or replaces an enrollment. The answer shows keys of
// symmetric attestation: clients read them right after they had them made.
func (h *handler) putEnrollment(c *call) (reply, error) {
	var j dps.EnrollmentJSON
	if err := c.json(&j); err != nil {
		return reply{}, err
	}
	e, err := c.enrollment(&j, c.params.id)
	if err != nil {
		return reply{}, err
	}
	match := ifMatch(c.r)
	if e, err = h.service.PutEnrollment(c.r.Context(), c.service, e, match); err != nil {
		return reply{}, err
	}
	return h.enrollmentReply(c, &e, true)
}

// enrollment reads an enrollment; id is the one of the address, "" for none.
func (c *call) enrollment(j *dps.EnrollmentJSON, id string) (dps.Enrollment, error) {
	e, err := j.Enrollment(c.route.group)
	switch {
	case err != nil:
		return e, err
	case id != "" && e.ID == "":
		e.ID = id
	case id != "" && !strings.EqualFold(e.ID, id):
		return e, causeway.Errorf(dps.CodeInvalid, "dps.enrollment", "the id %q in the body is not the %q of the address", clip(e.ID), clip(id))
	}
	return e, nil
}

func (h *handler) deleteEnrollment(c *call) (reply, error) {
	err := h.service.DeleteEnrollment(c.r.Context(), c.service, c.route.group, c.params.id, ifMatch(c.r))
	return reply{status: http.StatusNoContent}, err
}

// attestation shows the attestation of an enrollment with its keys.
func (h *handler) attestation(c *call) (reply, error) {
	e, err := h.service.Enrollment(c.r.Context(), c.service, c.route.group, c.params.id)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK}.json(dps.AttestationOf(&e, true))
}

// bulk creates, changes or deletes some enrollments, each by itself.
func (h *handler) bulk(c *call) (reply, error) {
	var in struct {
		Mode        string               `json:"mode"`
		Enrollments []dps.EnrollmentJSON `json:"enrollments"`
		Groups      []dps.EnrollmentJSON `json:"enrollmentGroups"`
	}
	if err := c.json(&in); err != nil {
		return reply{}, err
	}
	list := in.Enrollments
	if c.route.group {
		list = in.Groups
	}
	if len(list) > dps.MaxBulk {
		return reply{}, causeway.Errorf(dps.CodeInvalid, "dps.bulk", "%d enrollments at once, at most %d are accepted", len(list), dps.MaxBulk)
	}
	type failed struct {
		ID     string `json:"registrationId,omitempty"`
		Group  string `json:"enrollmentGroupId,omitempty"`
		Code   int    `json:"errorCode"`
		Status string `json:"errorStatus"`
	}
	out := struct {
		OK     bool     `json:"isSuccessful"`
		Errors []failed `json:"errors"`
	}{OK: true, Errors: []failed{}}
	for i := range list {
		err := h.one(c, in.Mode, &list[i])
		if err == nil {
			continue
		}
		out.OK = false
		f := failed{ID: list[i].RegistrationID, Code: int(causeway.CodeOf(err)), Status: causeway.MessageOf(err)}
		if c.route.group {
			f.ID, f.Group = "", list[i].GroupID
		}
		out.Errors = append(out.Errors, f)
	}
	return reply{status: http.StatusOK}.json(out)
}

// one does what a bulk operation wants of one enrollment.
func (h *handler) one(c *call, mode string, j *dps.EnrollmentJSON) error {
	id := j.RegistrationID
	if c.route.group {
		id = j.GroupID
	}
	if strings.EqualFold(mode, "delete") {
		match := bare(j.ETag)
		return h.service.DeleteEnrollment(c.r.Context(), c.service, c.route.group, id, match)
	}
	e, err := c.enrollment(j, "")
	if err != nil {
		return err
	}
	switch {
	case strings.EqualFold(mode, "create"):
		_, err = h.service.CreateEnrollment(c.r.Context(), c.service, e)
	case strings.EqualFold(mode, "update"):
		_, err = h.service.PutEnrollment(c.r.Context(), c.service, e, "*")
	case strings.EqualFold(mode, "updateIfMatchETag"):
		match := bare(j.ETag)
		if match == "" {
			return causeway.Errorf(dps.CodeInvalid, "dps.bulk", "updateIfMatchETag needs the etag of the enrollment")
		}
		_, err = h.service.PutEnrollment(c.r.Context(), c.service, e, match)
	default:
		return causeway.Errorf(dps.CodeInvalid, "dps.bulk", "mode %q is none of create, update, updateIfMatchETag and delete", clip(mode))
	}
	return err
}

// page reads how many items a query wants, and after which.
func (c *call) page() (after string, limit int, err error) {
	if v := c.r.Header.Get("x-ms-max-item-count"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 {
			return "", 0, causeway.Errorf(dps.CodeInvalid, "dps.page", "x-ms-max-item-count %q is no number of items", clip(v))
		}
		limit = min(limit, dps.MaxPage)
	}
	if limit == 0 {
		limit = dps.DefaultPage
	}
	after, err = openToken(c.r.Header.Get("x-ms-continuation"), c.route.name+" "+c.params.id)
	return after, limit, err
}

// checkQuery accepts the one query there is, SELECT * with or without FROM.
func (c *call) checkQuery() error {
	b, err := c.body()
	if err != nil || len(strings.TrimSpace(string(b))) == 0 {
		return err
	}
	var in struct {
		Query string `json:"query"`
	}
	if err := unmarshal(b, &in); err != nil {
		return err
	}
	f := strings.Fields(strings.ToLower(in.Query))
	if len(f) == 0 || len(f) == 2 && f[0] == "select" && f[1] == "*" || len(f) == 4 && f[0] == "select" && f[1] == "*" && f[2] == "from" {
		return nil
	}
	return causeway.Errorf(dps.CodeInvalid, "dps.query", "only SELECT * [FROM name] is supported, not %q", clip(in.Query))
}

func (h *handler) queryEnrollments(c *call) (reply, error) {
	if err := c.checkQuery(); err != nil {
		return reply{}, err
	}
	after, limit, err := c.page()
	if err != nil {
		return reply{}, err
	}
	list, err := h.service.Enrollments(c.r.Context(), c.service, c.route.group, after, limit)
	if err != nil {
		return reply{}, err
	}
	out, last := make([]dps.EnrollmentJSON, 0, len(list)), ""
	for i := range list {
		j, err := h.view(c, &list[i], false)
		if err != nil {
			return reply{}, err
		}
		out, last = append(out, j), list[i].ID
	}
	kind := "Enrollment"
	if c.route.group {
		kind = "EnrollmentGroup"
	}
	more := len(list) == limit
	if more { // whether there is one more: who is told so asks for it
		next, err := h.service.Enrollments(c.r.Context(), c.service, c.route.group, last, 1)
		if err != nil {
			return reply{}, err
		}
		more = len(next) > 0
	}
	return c.pageReply(kind, more, last).json(out)
}

// pageReply begins the answer to a query.
func (c *call) pageReply(kind string, more bool, last string) reply {
	rep := reply{status: http.StatusOK, header: http.Header{"x-ms-item-type": {kind}}}
	if more {
		rep.header["x-ms-continuation"] = []string{sealToken(last, c.route.name+" "+c.params.id)}
	}
	return rep
}
