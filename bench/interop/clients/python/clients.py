"""The Python part of the client programs: librdkafka through confluent-kafka-python, and kafka-python.

The contract is in clients/goclients/main.go.
"""

import base64
import importlib.metadata
import os
import sys
import threading

SESSION_MS = 6000
HEARTBEAT_MS = 500
FETCH_WAIT_MS = 200
BATCH = 500  # records between two commits, at most

# A short patience with a broker that does not answer.
IMPATIENT = os.environ.get("INTEROP_PATIENCE") == "short"
DIAL_MS = 1000  # for a connection
ANSWER_MS = 3000  # for an answer
CONFLUENT_PATIENCE = {"socket.timeout.ms": ANSWER_MS, "socket.connection.setup.timeout.ms": DIAL_MS} if IMPATIENT else {}
CONFLUENT_PRODUCER_PATIENCE = {**CONFLUENT_PATIENCE, "request.timeout.ms": ANSWER_MS} if IMPATIENT else {}
KAFKA_PYTHON_PATIENCE = {"request_timeout_ms": ANSWER_MS} if IMPATIENT else {}


def decode(text):
    return None if text == "-" else base64.b64decode(text)


def encode(data):
    return "-" if data is None else base64.b64encode(data).decode()


def records():
    for line in sys.stdin:
        key, value = line.rstrip("\n").split(" ")
        yield decode(key), decode(value)


def line_of(topic, partition, offset, timestamp, key, value, headers):
    fields = [topic, str(partition), str(offset), str(timestamp), encode(key), encode(value)]
    fields += [encode(name.encode()) + "=" + encode(data) for name, data in headers or ()]
    return " ".join(fields) + "\n"


def until_input_ends():
    """An event that is set when standard input ends: the member is to leave."""
    ended = threading.Event()

    def wait():
        while os.read(0, 4096):
            pass
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def confluent_produce(name, address, topic, codec, idempotent):
    from confluent_kafka import Producer

    failed = []
    producer = Producer({
        "bootstrap.servers": address, "compression.type": codec, "enable.idempotence": idempotent, "acks": "all",
        "max.in.flight.requests.per.connection": 5 if idempotent else 1, "linger.ms": 20,
    })
    for key, value in records():
        producer.produce(topic, key=key, value=value, headers=[("client", name.encode())],
                         on_delivery=lambda error, _: error and failed.append(error))
        producer.poll(0)
    left = producer.flush(60)
    if left or failed:
        sys.exit(f"{left} records are not acknowledged, failed: {failed[:3]}")


def confluent_flow(address, topic, idempotent):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": address, "enable.idempotence": idempotent, "acks": "all", "linger.ms": 20,
                         "max.in.flight.requests.per.connection": 5 if idempotent else 1, **CONFLUENT_PRODUCER_PATIENCE})
    ended = threading.Event()

    def answers():
        while not ended.is_set():
            producer.poll(0.1)

    polling = threading.Thread(target=answers)
    polling.start()
    for key, value in records():
        producer.produce(topic, key=key, value=value, on_delivery=lambda error, m: answered(m.key(), error))
    producer.flush(60)
    ended.set()
    polling.join()


def answered(key, error):
    """Prints what became of a record of a flow, in one write."""
    text = "ack " + encode(key) if error is None else "fail " + encode(key) + " " + repr(error).replace("\n", " ")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def confluent_consume(address, group, client_id, assignor, topics):
    from confluent_kafka import Consumer, KafkaException

    config = {
        "bootstrap.servers": address, "group.id": group, "client.id": client_id, "auto.offset.reset": "earliest",
        "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": HEARTBEAT_MS, "fetch.wait.max.ms": FETCH_WAIT_MS,
        "enable.auto.commit": False, **CONFLUENT_PATIENCE,
    }
    if assignor == "range":
        config["partition.assignment.strategy"] = "range"
    consumer = Consumer(config)
    printed = False  # since the last commit

    def commit(*_):
        nonlocal printed
        sys.stdout.flush()
        if printed:
            try:
                consumer.commit(asynchronous=False)
                printed = False
            except KafkaException as e:  # a rebalance goes on: committed when it revokes, or with the next records
                print("commit:", e, file=sys.stderr)

    consumer.subscribe(topics, on_revoke=commit)
    ended = until_input_ends()
    while not ended.is_set():
        wait = FETCH_WAIT_MS / 1000
        for _ in range(BATCH):
            message = consumer.poll(wait)
            if message is None:
                break
            if message.error():
                raise KafkaException(message.error())
            sys.stdout.write(line_of(message.topic(), message.partition(), message.offset(), message.timestamp()[1],
                                     message.key(), message.value(), message.headers()))
            printed, wait = True, 0
        commit()
    consumer.close()


def kafka_python_produce(name, address, topic, codec, idempotent):
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=address, compression_type=None if codec == "none" else codec, acks="all",
                             enable_idempotence=idempotent, max_in_flight_requests_per_connection=5 if idempotent else 1,
                             linger_ms=20)
    sent = [producer.send(topic, key=key, value=value, headers=[("client", name.encode())]) for key, value in records()]
    producer.flush(60)
    for future in sent:
        future.get(0)
    producer.close()


def kafka_python_flow(address, topic, idempotent):
    from kafka import KafkaProducer
    from kafka.errors import KafkaTimeoutError

    while True:
        try:
            producer = KafkaProducer(bootstrap_servers=address.split(","), acks="all", enable_idempotence=idempotent, linger_ms=20,
                                     max_in_flight_requests_per_connection=5 if idempotent else 1, **KAFKA_PYTHON_PATIENCE)
            break
        except KafkaTimeoutError as e:  # no answer of a bootstrap server within bootstrap_timeout_ms: its users start it once more
            print("start:", repr(e), file=sys.stderr)
    for key, value in records():
        future = producer.send(topic, key=key, value=value)
        future.add_callback(lambda _, key=key: answered(key, None))
        future.add_errback(lambda error, key=key: answered(key, error))
    producer.flush(60)
    producer.close()


def kafka_python_consume(address, group, client_id, assignor, topics):
    from kafka import ConsumerRebalanceListener, KafkaConsumer
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.errors import KafkaError

    extra = {"partition_assignment_strategy": [RangePartitionAssignor]} if assignor == "range" else {}
    extra.update(KAFKA_PYTHON_PATIENCE)
    consumer = KafkaConsumer(bootstrap_servers=address.split(","), group_id=group, client_id=client_id, auto_offset_reset="earliest",
                             session_timeout_ms=SESSION_MS, heartbeat_interval_ms=HEARTBEAT_MS,
                             fetch_max_wait_ms=FETCH_WAIT_MS, max_poll_records=BATCH, enable_auto_commit=False, **extra)
    consumer.subscribe(topics)
    ended = until_input_ends()
    while not ended.is_set():
        batches = consumer.poll(timeout_ms=FETCH_WAIT_MS)
        for batch in batches.values():
            for r in batch:
                sys.stdout.write(line_of(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers))
        sys.stdout.flush()
        if batches:
            try:
                consumer.commit()
            except KafkaError as e:  # a rebalance goes on
                print("commit:", repr(e), file=sys.stderr)
    consumer.close(autocommit=False)


def main():
    name, verb, *args = sys.argv[1:]
    prefix = {"confluent-kafka-python": "confluent", "kafka-python": "kafka_python"}[name]
    if verb == "version":
        if prefix == "confluent":
            import confluent_kafka
            print("confluent-kafka-python", importlib.metadata.version("confluent-kafka"))
            print("librdkafka", confluent_kafka.libversion()[0])
        else:
            print("kafka-python", importlib.metadata.version("kafka-python"))
    elif verb == "produce":
        address, topic, codec, idempotent = args
        globals()[prefix + "_produce"](name, address, topic, codec, idempotent == "true")
    elif verb == "flow":
        address, topic, idempotent = args
        globals()[prefix + "_flow"](address, topic, idempotent == "true")
    else:
        address, group, client_id, assignor, *topics = args
        globals()[prefix + "_consume"](address, group, client_id, assignor, topics)


main()
