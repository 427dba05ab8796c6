"""The linear way around encoder and decoder of a stack's models: code += x A, output += code B; and its gradients.

Shapes: M models, B rows of a batch, F features and C units of the code, both padded.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from tuner.learning.stacked.products import Products


@final
class Around:
    """Of one number of rows; the layers' own outputs are changed in place.

    Args:
        matrices: A (M, F, C) and B (M, C, F).
        gradients: room for their gradients, of the same shapes.
        products: by which they are multiplied.
        outputs: what the layers give that end in the code, (M, B, C) or twice as wide, and in the output, (M, B, F).
    """

    def __init__(
        self,
        matrices: tuple[Tensor, Tensor],
        gradients: tuple[Tensor, Tensor],
        products: Products,
        outputs: tuple[Tensor, Tensor],
    ) -> None:
        self._encoder, self._decoder = matrices
        self._encoder_gradient, self._decoder_gradient = gradients
        self._products = products
        units = self._encoder.shape[2]
        self._code, self._output = outputs[0][:, :, :units], outputs[1]
        self._to_code, self._to_output = (
            self._code.new_zeros(self._code.shape),
            self._output.new_zeros(outputs[1].shape),
        )
        self._code_gradient = self._to_code.clone()

    def to_code(self, x_MBF: Tensor) -> None:
        """Add what goes around the encoder."""
        self._products.gradient(x_MBF, self._encoder, self._to_code)
        self._code.add_(self._to_code)

    def to_output(self, code_MBC: Tensor) -> None:
        """Add what goes around the decoder."""
        self._products.gradient(code_MBC, self._decoder, self._to_output)
        self._output.add_(self._to_output)

    def decoder_back(self, code_MCB: Tensor, dz_MBF: Tensor) -> None:
        """The gradient of B, from the code transposed and the outputs' gradient; the code's is kept."""
        self._products.gradient(code_MCB, dz_MBF, self._decoder_gradient)
        self._products.gradient(dz_MBF, self._decoder.transpose(1, 2), self._code_gradient)

    def add_code_gradient(self, dcode_MBC: Tensor) -> None:
        """Add the code's gradient through the way around the decoder."""
        dcode_MBC.add_(self._code_gradient)

    def encoder_back(self, x_MFB: Tensor, dz_MBC: Tensor) -> None:
        """The gradient of A, from the inputs transposed and the gradient of the code, or of its means first."""
        self._products.gradient(x_MFB, dz_MBC[:, :, : self._to_code.shape[2]], self._encoder_gradient)
