package cli

import (
	"fmt"

	"sealpost/messenger"
)

type receiptsCommand struct {
	profileFlags
	Which string `arg:"" optional:"" enum:"on,delivered,off," default:"" name:"on|delivered|off" help:"Tell contacts that messages arrived and were read (on), only that they arrived (delivered), or nothing (off)."`
}

// receiptPolicies name what is sent.
var receiptPolicies = map[string]messenger.ReceiptPolicy{
	"on":        messenger.SendDelivered | messenger.SendRead,
	"delivered": messenger.SendDelivered,
	"off":       0,
}

// Help is shown by receipts --help.
func (*receiptsCommand) Help() string {
	return "Says or changes what contacts learn about the messages that they sent you. Who is no contact never learns anything."
}

// Run says or changes the policy.
func (c *receiptsCommand) Run(env *environment) error {
	return c.local(env, func(client *messenger.Client) error {
		if c.Which != "" {
			if err := client.SetReceiptPolicy(env.ctx, receiptPolicies[c.Which]); err != nil {
				return fmt.Errorf("changing the receipts: %w", err)
			}
		}
		policy, err := client.ReceiptPolicy(env.ctx)
		if err != nil {
			return fmt.Errorf("reading the receipts: %w", err)
		}
		said := "Contacts learn neither that messages arrived nor that they were read."
		switch {
		case policy&messenger.SendDelivered != 0 && policy&messenger.SendRead != 0:
			said = "Contacts learn that messages arrived and that they were read."
		case policy&messenger.SendDelivered != 0:
			said = "Contacts learn that messages arrived, but not that they were read."
		case policy&messenger.SendRead != 0:
			said = "Contacts learn that messages were read."
		}
		return printLines(env.stdout, said, 0)
	})
}
