package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// signInput says what an address of blobs shall allow.
type signInput struct {
	HubPath
	Body struct {
		Container   string `json:"container,omitempty" maxLength:"63" doc:"Container; without one, all of them, and making and deleting them"`
		Blob        string `json:"blob,omitempty" maxLength:"1024" doc:"Blob; without one, all of the container"`
		Permissions string `json:"permissions" pattern:"^[racwdl]{1,6}$" doc:"Read, add, create, write, delete, list" example:"rl"`
		Seconds     int64  `json:"seconds" minimum:"1" maximum:"2592000" doc:"For how long, at most 30 days"`
	}
}

type signOutput struct {
	Body struct {
		Path    string    `json:"path" doc:"Path on the hosts of the hub" example:"/causeway/uploads"`
		Query   string    `json:"query" doc:"Query with the signature: whoever has it may do what it allows"`
		Expires time.Time `json:"expires"`
	}
}

func (s *Server) addBlobs(api huma.API) {
	sign := operation("signBlob", http.MethodPost, "/hubs/{hub}/blob-signatures", "blobs", "Sign access to blobs of a hub for a while", auth.AllRights)
	sign.Errors = append(sign.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, sign, s.signBlob)
}

func (s *Server) signBlob(ctx context.Context, in *signInput) (*signOutput, error) {
	const op = "admin.signBlob"
	b := in.Body
	var bad error
	switch {
	case b.Container == "" && b.Blob != "":
		bad = causeway.Errorf(causeway.ArgumentInvalid, op, "a blob needs its container")
	case b.Container == blobsas.AccountName:
		bad = causeway.Errorf(causeway.ArgumentInvalid, op, "%q is the name of the account, a container cannot have it", b.Container)
	case b.Container != "":
		if err := blob.CheckContainer(b.Container); err != nil {
			bad = causeway.Errorf(causeway.ArgumentInvalid, op, "%v", err)
		}
	}
	if b.Blob != "" && bad == nil {
		if err := blob.CheckName(b.Blob); err != nil {
			bad = causeway.Errorf(causeway.ArgumentInvalid, op, "%v", err)
		}
	}
	if bad != nil {
		return nil, s.problem(ctx, bad)
	}
	if _, err := s.find(in.name()); err != nil {
		return nil, s.problem(ctx, err)
	}
	g := blobsas.Grant{
		Container: b.Container, Blob: b.Blob, Permissions: inOrder(b.Permissions),
		Expiry: time.Now().UTC().Add(time.Duration(b.Seconds) * time.Second).Truncate(time.Second),
	}
	var query causeway.Secret
	ok := false
	if s.SignBlob != nil {
		query, ok = s.SignBlob(in.name(), g)
	}
	if !ok {
		return nil, s.problem(ctx, causeway.Errorf(causeway.GenericNotFound, op, "the hub %q has no blobs now", in.name()))
	}
	s.Log.InfoContext(ctx, "access to blobs signed", obs.KeyHub, in.name(), "container", g.Container, "blob", g.Blob, "permissions", g.Permissions, "expires", g.Expiry)
	out := &signOutput{}
	path := "/" + blobsas.AccountName
	for _, part := range []string{g.Container, g.Blob} {
		if part != "" {
			path += "/" + part
		}
	}
	out.Body.Path = (&url.URL{Path: path}).EscapedPath()
	out.Body.Query, out.Body.Expires = string(query), g.Expiry
	return out, nil
}

// inOrder returns permissions each once and in the order that clients expect.
func inOrder(permissions string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(permissions, r) {
			return r
		}
		return -1
	}, blobsas.Permissions)
}
