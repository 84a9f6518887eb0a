package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
)

// enrollmentVersion is what the client of enrollments asks for.
const enrollmentVersion = "2021-10-01"

// Enrollments is a back end's view of a provisioning service: which devices may
// come, and what became of them. It is safe for concurrent use.
//
// Codes of all methods, beside their own: 401002 (the policy or its key is wrong),
// 403000 (the policy lacks the right), 404201 (no such enrollment), 412000 (it has
// changed), 400000 (what is wrong is said).
type Enrollments struct {
	rest *rest
	host string
}

// NewEnrollments returns a client for the provisioning service of a connection
// string, "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…" or with a ready
// "SharedAccessSignature=…". It does not connect yet.
func NewEnrollments(connectionString string, o Options) (*Enrollments, error) {
	p, err := serviceTokens(connectionString)
	if err != nil {
		return nil, err
	}
	r := newREST(p.hostName, &o)
	r.header = func(h http.Header) error {
		h.Set("Authorization", p.get(time.Now()))
		return nil
	}
	return &Enrollments{rest: r, host: p.resource}, nil
}

// Host returns the host name of the service.
func (c *Enrollments) Host() string { return c.host }

// Close releases idle connections.
func (c *Enrollments) Close() { c.rest.close() }

// enrollmentRequest returns a request about what a path names.
func enrollmentRequest(op, method, path, match string, body any) request {
	q := request{method: method, path: path, op: op, body: body, query: url.Values{"api-version": {enrollmentVersion}}, header: http.Header{}}
	if match != "" {
		q.header.Set("If-Match", quoteETag(match))
	}
	return q
}

func enrollmentPath(kind EnrollmentKind, id string) string {
	return "/" + string(kind) + "/" + url.PathEscape(id)
}

// Get returns an enrollment without its keys; [Enrollments.Attestation] has them.
func (c *Enrollments) Get(ctx context.Context, kind EnrollmentKind, id string) (e Enrollment, err error) {
	_, err = c.rest.do(ctx, enrollmentRequest("get enrollment", http.MethodGet, enrollmentPath(kind, id), "", nil), &e)
	return e, err
}

// Create makes an enrollment, and returns it with its keys: those that are not
// given are generated. Code: 409203 (it exists).
func (c *Enrollments) Create(ctx context.Context, e Enrollment) (Enrollment, error) {
	const op = "create enrollment"
	failed, err := c.Bulk(ctx, BulkCreate, []Enrollment{e})
	switch {
	case err != nil:
		return e, err
	case len(failed) > 0:
		return e, causeway.Errorf(causeway.Code(failed[0].Code), op, "%s", failed[0].Status)
	}
	made, err := c.Get(ctx, e.Kind(), e.ID())
	if err != nil || made.Attestation.Type == "x509" {
		return made, err
	}
	made.Attestation, err = c.Attestation(ctx, e.Kind(), e.ID())
	return made, err
}

// Put replaces an enrollment if its etag still is match, [AnyVersion] for any that
// exists, and returns it with its keys; "" makes it when there is none. Keys and
// certificates that are left out stay.
func (c *Enrollments) Put(ctx context.Context, e Enrollment, match string) (out Enrollment, err error) {
	_, err = c.rest.do(ctx, enrollmentRequest("put enrollment", http.MethodPut, enrollmentPath(e.Kind(), e.ID()), match, e), &out)
	return out, err
}

// Delete removes an enrollment if its etag still is match, "" for any. The devices
// that it admitted stay on their hubs.
func (c *Enrollments) Delete(ctx context.Context, kind EnrollmentKind, id, match string) error {
	_, err := c.rest.do(ctx, enrollmentRequest("delete enrollment", http.MethodDelete, enrollmentPath(kind, id), orAny(match), nil), nil)
	return err
}

// Attestation returns the attestation of an enrollment with its keys.
func (c *Enrollments) Attestation(ctx context.Context, kind EnrollmentKind, id string) (a EnrollmentAttestation, err error) {
	_, err = c.rest.do(ctx, enrollmentRequest("get attestation", http.MethodPost, enrollmentPath(kind, id)+"/attestationmechanism", "", nil), &a)
	return a, err
}

// Bulk does the same with up to [MaxBulkEnrollments] enrollments of one kind, each by
// itself, and returns those that were refused.
func (c *Enrollments) Bulk(ctx context.Context, mode BulkMode, list []Enrollment) ([]BulkError, error) {
	const op = "change enrollments"
	if len(list) == 0 {
		return nil, nil
	}
	kind := list[0].Kind()
	for i := range list {
		if list[i].Kind() != kind {
			return nil, fmt.Errorf("%s: enrollments of devices and of groups in one operation", op)
		}
	}
	var out struct {
		Errors []BulkError `json:"errors"`
	}
	body := map[string]any{"mode": mode, string(kind): list}
	_, err := c.rest.do(ctx, enrollmentRequest(op, http.MethodPost, "/"+string(kind), "", body), &out)
	return out.Errors, err
}

// EnrollmentPage is a part of the enrollments of a service.
type EnrollmentPage struct {
	Items        []Enrollment // without their keys
	Continuation string       // asks for the next page; "" when there is none
}

// Page returns up to size enrollments, 0 for 100 and at most 1000, in the order of
// their ids. Continuation is that of the page before.
func (c *Enrollments) Page(ctx context.Context, kind EnrollmentKind, size int, continuation string) (p EnrollmentPage, err error) {
	p.Continuation, err = c.page(ctx, "list enrollments", "/"+string(kind)+"/query", size, continuation, &p.Items)
	return p, err
}

func (c *Enrollments) page(ctx context.Context, op, path string, size int, continuation string, into any) (string, error) {
	q := enrollmentRequest(op, http.MethodPost, path, "", map[string]string{"query": "SELECT *"})
	if size > 0 {
		q.header.Set("x-ms-max-item-count", strconv.Itoa(size))
	}
	if continuation != "" {
		q.header.Set("x-ms-continuation", continuation)
	}
	h, err := c.rest.do(ctx, q, into)
	return h.Get("x-ms-continuation"), err
}

// All returns all enrollments of a kind, asking for pages as they are needed. It
// ends after an error.
func (c *Enrollments) All(ctx context.Context, kind EnrollmentKind) iter.Seq2[Enrollment, error] {
	return pages(func(continuation string) ([]Enrollment, string, error) {
		p, err := c.Page(ctx, kind, 0, continuation)
		return p.Items, p.Continuation, err
	})
}

// pages goes through the items of all pages.
func pages[T any](page func(continuation string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for next := ""; ; {
			items, following, err := page(next)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next = following; next == "" {
				return
			}
		}
	}
}

// Registration returns what the service remembers of a device. Code: 404202 (it
// has not registered).
func (c *Enrollments) Registration(ctx context.Context, id string) (r RegistrationState, err error) {
	_, err = c.rest.do(ctx, enrollmentRequest("get registration", http.MethodGet, registrationPath(id), "", nil), &r)
	return r, err
}

func registrationPath(id string) string { return "/registrations/" + url.PathEscape(id) }

// DeleteRegistration forgets a registration if its etag still is match, "" for any:
// the device begins anew. Its identity on the hub stays.
func (c *Enrollments) DeleteRegistration(ctx context.Context, id, match string) error {
	_, err := c.rest.do(ctx, enrollmentRequest("delete registration", http.MethodDelete, registrationPath(id), orAny(match), nil), nil)
	return err
}

// Registrations returns what the service remembers of the devices of a group. It
// ends after an error.
func (c *Enrollments) Registrations(ctx context.Context, group string) iter.Seq2[RegistrationState, error] {
	return pages(func(continuation string) (list []RegistrationState, next string, err error) {
		next, err = c.page(ctx, "list registrations", registrationPath(group)+"/query", 0, continuation, &list)
		return list, next, err
	})
}
