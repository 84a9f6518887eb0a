package cloud_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
)

// TestDeletedConsumerGroup: who reads in a consumer group hears at once that it was
// deleted.
func TestDeletedConsumerGroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, configFor(dir), cloud.Options{})
	a := r.admin(dir)
	if _, err := a.CreateConsumerGroup(t.Context(), "localhost", "analytics"); err != nil {
		t.Fatal(err)
	}
	o := r.options()
	o.AMQPPort = r.Connection().AMQPPort
	e, err := client.NewEvents(client.EventsOptions{Options: o, ConnectionString: r.Connection().EventHubsConnectionString, ConsumerGroup: "analytics"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reader, err := e.Reader(ctx, "0", client.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := a.DeleteConsumerGroup(t.Context(), "localhost", "analytics"); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Receive(ctx); causeway.CodeOf(err).HTTPStatus() != 404 {
		t.Errorf("receive: %v", err)
	}
}
