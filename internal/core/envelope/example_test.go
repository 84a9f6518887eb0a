package envelope_test

import (
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/envelope"
)

func Example() {
	m := causeway.Message{
		From: causeway.Identity{Hub: "plant", Device: "press-1"},
		Body: []byte("21.5"),
	}
	stored := envelope.Append(nil, &m)

	back, err := envelope.Decode(stored)
	fmt.Println(back.From.Device, string(back.Body), err)
	// Output: press-1 21.5 <nil>
}
