"""Mail to customers: one job each, in order per customer, tried again when the server is busy."""

from streamjobs import App, Context, DeadLetter, Retry

app = App("shop")
app.queue("mail", partitions=8, retry=Retry(delays=("1s", "10s", "1m")))


@app.job(queue="mail", key="customer_id")
def send_mail(ctx: Context, customer_id: int, template: str = "welcome") -> None:
    if template not in {"welcome", "invoice"}:
        raise DeadLetter(f"there is no template {template!r}")
    if customer_id % 10 == 0 and ctx.attempt == 1:
        raise ConnectionError("the mail server is busy")  # tried again after 1 s
    ctx.log.info("%s to customer %d, attempt %d", template, customer_id, ctx.attempt)


if __name__ == "__main__":
    with app:
        ref = send_mail.enqueue(customer_id=7, template="invoice")  # returns when the log has it
        many = app.enqueue_many(send_mail.call(customer_id=n) for n in range(100))
        send_mail.enqueue(customer_id=8, template="invioce")
        print(f"{ref.id} is in {ref.topic}, and so are {many.sent + 1} others")
