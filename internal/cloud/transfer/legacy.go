package transfer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// legacyLife is how long an address is good that was made of an account's key.
const legacyLife = 7 * 24 * time.Hour

// LegacyRequest is how old clients ask for an export or import: by the
// connection string of a storage account, and the name of a container in it.
type LegacyRequest struct {
	ContainerName           *string `json:"containerName"`
	StorageConnectionString *string `json:"storageConnectionString"`
}

// Request returns the request of today's form: the address of the container,
// with a signature made of the account's key.
//
// Codes: ArgumentNull, ArgumentInvalid.
func (r *LegacyRequest) Request(t Type, now time.Time) (Request, error) {
	const op = "transfer.LegacyRequest"
	container := text(r.ContainerName)
	if container == "" || text(r.StorageConnectionString) == "" {
		return Request{}, causeway.Errorf(causeway.ArgumentNull, op, "containerName and storageConnectionString are both needed")
	}
	if strings.ContainsAny(container, "/?#%\\") || len(container) > 63 {
		return Request{}, invalid(op, "containerName is not a name of a container")
	}
	fields := map[string]string{}
	for pair := range strings.SplitSeq(*r.StorageConnectionString, ";") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if ok {
			fields[strings.ToLower(key)] = value
		}
	}
	account, endpoint := fields["accountname"], fields["blobendpoint"]
	key, err := base64.StdEncoding.DecodeString(fields["accountkey"])
	if err != nil || account == "" || len(key) == 0 {
		return Request{}, invalid(op, "storageConnectionString needs AccountName and AccountKey, in base64")
	}
	if endpoint == "" {
		suffix := fields["endpointsuffix"]
		if suffix == "" {
			suffix = "core.windows.net"
		}
		endpoint = "https://" + account + ".blob." + suffix
	}
	uri := strings.TrimRight(endpoint, "/") + "/" + container + "?" + signContainer(account, key, container, now)
	typ := string(t)
	out := Request{Type: &typ, OutputBlobContainerURI: &uri}
	if t == Import {
		out.InputBlobContainerURI = &uri
	}
	return out, nil
}

// signContainer returns the query of an address that allows to read, write and
// list the blobs of a container: a service signature of version 2018-11-09.
func signContainer(account string, key []byte, container string, now time.Time) string {
	const version, permissions = "2018-11-09", "rwl"
	expiry := now.UTC().Add(legacyLife).Format("2006-01-02T15:04:05Z")
	lines := []string{permissions, "", expiry, "/blob/" + account + "/" + container, "", "", "https", version, "c", "", "", "", "", "", ""}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(strings.Join(lines, "\n")))
	return url.Values{
		"sv": {version}, "sr": {"c"}, "sp": {permissions}, "se": {expiry}, "spr": {"https"},
		"sig": {base64.StdEncoding.EncodeToString(h.Sum(nil))},
	}.Encode()
}
