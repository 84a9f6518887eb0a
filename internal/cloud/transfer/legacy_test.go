package transfer_test

import (
	"encoding/base64"
	"net/url"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

func TestLegacyRequest(t *testing.T) {
	key := []byte("the key of an account")
	account := "AccountName=acc;AccountKey=" + base64.StdEncoding.EncodeToString(key)
	for _, x := range []struct {
		name, container, storage string
		host                     string // "" when it is refused
		code                     causeway.Code
	}{
		{"as the portal shows it", "c", "DefaultEndpointsProtocol=https;" + account + ";EndpointSuffix=core.example", "acc.blob.core.example", 0},
		{"without a suffix", "c", account, "acc.blob.core.windows.net", 0},
		{"with an end point", "c", account + ";BlobEndpoint=https://127.0.0.1:10000/acc/", "127.0.0.1:10000", 0},
		{"no container", "", account, "", causeway.ArgumentNull},
		{"no storage", "c", "", "", causeway.ArgumentNull},
		{"no key", "c", "AccountName=acc", "", causeway.ArgumentInvalid},
		{"a key that is none", "c", "AccountName=acc;AccountKey=???", "", causeway.ArgumentInvalid},
		{"a container that is a path", "a/b", account, "", causeway.ArgumentInvalid},
	} {
		r := transfer.LegacyRequest{ContainerName: &x.container, StorageConnectionString: &x.storage}
		got, err := r.Request(transfer.Import, time.Now())
		if causeway.CodeOf(err) != x.code {
			t.Errorf("%s: %v, want %v", x.name, err, x.code)
		}
		if err != nil {
			continue
		}
		u, err := url.Parse(*got.OutputBlobContainerURI)
		if err != nil || u.Host != x.host || *got.InputBlobContainerURI != *got.OutputBlobContainerURI {
			t.Errorf("%s: %s, %v, want host %s", x.name, u, err, x.host)
			continue
		}
		token, ok, err := blobsas.Parse(u.RawQuery)
		if err != nil || !ok || !token.Verify(key, "acc", "c", "") || !token.Allows("r") || !token.Allows("w") || !token.ValidAt(time.Now()) {
			t.Errorf("%s: a signature that is not good: %+v, %v", x.name, token, err)
		}
		if _, err := (transfer.HTTPS{}).Open(causeway.Secret(*got.OutputBlobContainerURI)); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}
