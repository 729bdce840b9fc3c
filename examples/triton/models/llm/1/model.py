"""Answers with the prompt's own words, one each 50 ms, until it has sent max_tokens of them or its client has left."""

import json
import threading
import time

import numpy
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request, request.get_response_sender())).start()

    def answer(self, request, sender):
        words = triton.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode().split() or ["?"]
        parameters = json.loads(request.parameters() or "{}")
        for index in range(int(parameters.get("max_tokens", 16))):
            if sender.is_cancelled():
                break
            word = words[index % len(words)] + " "
            text = numpy.array([word.encode()], dtype=object)
            sender.send(triton.InferenceResponse([triton.Tensor("text_output", text)]))
            time.sleep(0.05)
        sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
